"""What is to be thought of the replica, how it ended, and what HAProxy is told. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from signal import Signals

from gptoss_runtime.contract import ExitCode, Phase, Verdict


SILENCES_ALLOWED = 3
"""Health questions without an answer until a replica that was ready counts as not ready. A busy vLLM may be late."""


class Answer(StrEnum):
    """What vLLM's /health said."""

    UP = "Up"
    DOWN = "Down"
    """It refused the connection, or answered with another status than 200."""
    SILENT = "Silent"
    """No answer in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of vLLM's process."""

    running: bool
    was_ready: bool
    """Whether /health has ever answered 200."""
    draining: bool
    answer: Answer
    """The last one."""
    silences: int
    """Questions in a row that had no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Phase and verdict belong together."""

    phase: Phase
    verdict: Verdict


def judge(seen: Seen) -> Judgement:
    """Return phase and verdict.

    A reason never holds a number that grows, so that it stays the same while nothing changes.

    Only the end of the process makes a replica dead: overload and long loading must never have it killed.
    """
    if not seen.running:
        return _judgement(Phase.STOPPED, ready=False, live=False, reason="vLLM's process has ended")
    if seen.draining:
        return _judgement(Phase.DRAINING, ready=False, live=True, reason="asked to stop; requests are finishing")
    if not seen.was_ready:
        return _judgement(Phase.LOADING, ready=False, live=True, reason="vLLM is loading the model")
    if seen.answer is Answer.DOWN:
        return _judgement(
            Phase.NOT_READY, ready=False, live=True, reason="vLLM refuses health questions: its engine has failed"
        )
    if seen.silences >= SILENCES_ALLOWED:
        return _judgement(
            Phase.NOT_READY, ready=False, live=True, reason="vLLM does not answer health questions in time"
        )
    return _judgement(Phase.READY, ready=True, live=True, reason="vLLM is up")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How vLLM ended."""

    exit_status: int
    """Of vLLM's process; negative is the signal that killed it."""
    asked: bool
    """Whether we were asked to stop."""
    was_ready: bool
    cause: str = ""
    """The line of its output that says why, if there is one."""


def exit_code(ending: Ending) -> int:
    """Return the exit status of the server.

    vLLM's own is of no use for it: it exits with 0 when its engine dies.
    """
    if ending.asked:
        return ExitCode.OK
    return ExitCode.ENGINE_DIED if ending.was_ready else ExitCode.START_FAILED


def termination_message(ending: Ending) -> str:
    """Return why the server ended, for the pod's status; empty when it was asked to."""
    if ending.asked:
        return ""
    what = "the engine died while serving" if ending.was_ready else "vLLM did not start"
    why = f": {ending.cause}" if ending.cause else _unexplained(ending.exit_status)
    return f"{what} ({_exit_words(ending.exit_status)}){why}"


def agent_line(verdict: Verdict, granted: int) -> str:
    """Return the line of HAProxy's agent check, with its line feed. `granted` requests may run at once, at least 1.

    `ready` is said each time, since it alone takes back a `drain`; so is `100%`, a share of the server's configured
    weight, which must be 100 there (of HAProxy's default of 1, a smaller share would be zero).
    """
    return f"up ready 100% maxconn:{granted}\n" if verdict.ready else "drain\n"


def _judgement(phase: Phase, *, ready: bool, live: bool, reason: str) -> Judgement:
    return Judgement(phase=phase, verdict=Verdict(ready=ready, live=live, reason=reason))


def _unexplained(exit_status: int) -> str:
    if exit_status == -Signals.SIGKILL:
        return ": most likely out of memory; raise spec.pod.resources.memory"
    return "; its output names no error, see the container's log"


def _exit_words(exit_status: int) -> str:
    return f"signal {Signals(-exit_status).name}" if exit_status < 0 else f"exit status {exit_status}"
