"""What is to be thought of the replica, how it ended, and what HAProxy is told. Pure."""

from dataclasses import dataclass
from signal import Signals
from types import MappingProxyType

from gptoss_runtime.contract import OPEN_SHARE, ExitCode, Notice, NoticeKind, Phase, Verdict
from gptoss_runtime.server.watchdog import NOTHING, Finding


_STARTING = MappingProxyType(
    {
        Phase.STARTING: "vLLM is starting",
        Phase.FETCHING: "the weights are being fetched",
        Phase.LOADING: "vLLM is loading the model",
        Phase.COMPILING: "vLLM is making its kernels and graphs",
        Phase.WARMING: "vLLM is up; its first answers are being checked",
    }
)
_CLOSED = "it could serve; a rollout lets it in when it has passed its gates"
_COMING = MappingProxyType(
    {
        NoticeKind.TERMINATION: "its machine will be taken away",
        NoticeKind.MAINTENANCE: "its machine will be stopped for maintenance",
        NoticeKind.REBALANCE: "its machine is at risk",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of vLLM's process."""

    running: bool
    start_phase: Phase
    """How far the start has come; means nothing once it was ready."""
    start_fault: str = ""
    """Why the first answers are not good yet; empty while nothing is known against them."""
    was_ready: bool
    """Whether its first answers have been found good."""
    leaving: str = ""
    """Why it takes no more requests; empty while it stays."""
    finding: Finding = NOTHING
    """What the watchdog says of a replica that was ready."""
    gpu_fault: str = ""
    """A GPU's error that spoils answers; empty when there is none."""
    closed: bool = False
    """Whether a rollout keeps requests from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Phase and verdict belong together."""

    phase: Phase
    verdict: Verdict


def judge(seen: Seen) -> Judgement:
    """Return phase and verdict.

    A reason never holds a number that grows, so that it stays the same while nothing changes.

    Only the end of the process and an engine that has done nothing for very long make a replica dead: overload and long
    loading must never have it killed.
    """
    if not seen.running:
        return _judgement(Phase.STOPPED, ready=False, live=False, reason="vLLM's process has ended")
    if seen.leaving:
        return _judgement(Phase.DRAINING, ready=False, live=True, reason=seen.leaving)
    if not seen.was_ready:
        reason = seen.start_fault or _STARTING[seen.start_phase]
        return _judgement(seen.start_phase, ready=False, live=True, reason=reason)
    if fault := seen.finding.restart or seen.finding.fault or seen.gpu_fault:
        return _judgement(Phase.NOT_READY, ready=False, live=not seen.finding.restart, reason=fault)
    if seen.closed:
        return _judgement(Phase.WAITING, ready=False, live=True, reason=_CLOSED)
    return _judgement(Phase.READY, ready=True, live=True, reason="vLLM is up")


def leaving_words(*, asked: bool, notice: Notice | None) -> str:
    """Return why a replica leaves, for people. `notice` is what the cloud announces now."""
    if asked:
        return "asked to stop; requests are finishing"
    if notice is None:
        return "its machine stays after all; requests are being let in again"
    return f"{_COMING[notice.kind]} ({notice.source}); requests are finishing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How vLLM, or the fetch of its weights, ended."""

    exit_status: int
    """Of the process; negative is the signal that killed it."""
    asked: bool
    """Whether we were asked to stop."""
    was_ready: bool
    fetching: bool = False
    """Whether it was the fetch of the weights that ended."""
    killed_for: str = ""
    """Why we ended it ourselves; empty when we did not."""
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
    if ending.fetching:
        what = "the weights were not fetched"
    else:
        what = "the engine died while serving" if ending.was_ready else "vLLM did not start"
    if ending.killed_for:
        return f"{what} (ended by the server): {ending.killed_for}"
    why = f": {ending.cause}" if ending.cause else _unexplained(ending.exit_status)
    return f"{what} ({_exit_words(ending.exit_status)}){why}"


def agent_line(verdict: Verdict, granted: int, *, share: int = OPEN_SHARE) -> str:
    """Return the line of HAProxy's agent check, with its line feed. `granted` requests may run at once, at least 1.

    `ready` is said each time, since it alone takes back a `drain`; so is `share`, in percent of the server's configured
    weight, which must be 100 there (of HAProxy's default of 1, a smaller share would be zero).
    """
    # A share of zero may be known before the verdict follows from it.
    return f"up ready {share}% maxconn:{granted}\n" if verdict.ready and share else "drain\n"


def _judgement(phase: Phase, *, ready: bool, live: bool, reason: str) -> Judgement:
    return Judgement(phase=phase, verdict=Verdict(ready=ready, live=live, reason=reason))


def _unexplained(exit_status: int) -> str:
    if exit_status == -Signals.SIGKILL:
        return ": most likely out of memory; raise spec.pod.resources.memory"
    return "; its output names no error, see the container's log"


def _exit_words(exit_status: int) -> str:
    return f"signal {Signals(-exit_status).name}" if exit_status < 0 else f"exit status {exit_status}"
