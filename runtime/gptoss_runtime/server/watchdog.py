"""Whether the engine makes progress. Pure.

vLLM's `/health` says 200 while its engine hangs, and the engine's numbers stay what they were. So the evidence is what
moves: the engine's own numbers while it has requests, a probe's answer while none of them runs. Requests may wait for
minutes without a step, as for the grammar of a structured output, before an engine that is well.

What the windows mean. vLLM reports after each step. The longest step is one prefill of `max_num_batched_tokens`, which
takes seconds on the slowest GPU, and the first step of a new shape, which may compile a kernel: tens of seconds on a
GPU without compile cache. The probes of the start bring most of that forward, before the replica is ready. So
`stall_seconds` (30 by default) takes a replica out for a while in the worst case, which costs nothing but its turn;
only `restart_seconds` (120 by default) ends anything. A long prompt is many steps, and each changes the cache's usage,
so it is progress though no token comes. Load cannot look like a stall: a busy engine moves, and numbers that are late
or missing are evidence of nothing.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


SILENCES_ALLOWED = 3
"""Health questions without an answer until a replica that was ready counts as not ready. A busy vLLM may be late."""
FAILED_SECONDS = 2.0
"""How long vLLM may refuse health questions until it is ended. It says with it that its engine is lost, and ends by
itself only when the time is over that it grants requests at its end."""
WRONG_ALLOWED = 1
"""Wrong answers in a row that are still a chance: another request may have shared the probe's batch."""
LONGEST_GAP_SECONDS = 5.0
"""What one look may add to a clock. A machine that was frozen as a whole must not look like a stalled engine."""
IDLE_CPU_SHARE = 0.001
"""Of one CPU. A front process that uses less than this is not overloaded, it does nothing."""
RETRY_SECONDS = 1.0
"""Between a probe that failed and the next one."""


class Answer(StrEnum):
    """What vLLM's /health said."""

    UP = "Up"
    DOWN = "Down"
    """It refused the connection, or answered with another status than 200."""
    SILENT = "Silent"
    """No answer in time."""


class Outcome(StrEnum):
    """What came of a probe."""

    RIGHT = "Right"
    WRONG = "Wrong"
    BUSY = "Busy"
    """Refused because vLLM's queue is full."""
    UNANSWERED = "Unanswered"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchLimits:
    """What the orders grant, in seconds."""

    stall_seconds: float
    restart_seconds: float
    probe_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the engine said of its work. Only the engine itself can change any of it."""

    requests: int
    """Running and waiting."""
    running: int
    signature: tuple[float | None, ...]
    """Its counters and gauges; two different ones have a step between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """A probe that is over."""

    outcome: Outcome
    reason: str = ""
    """What is wrong, for people."""
    disturbed: bool = False
    """Whether requests came while it was under way, so that it may have had to wait for them."""
    started_at: float
    ended_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What was seen so far. Times are seconds on one clock that never goes back."""

    alive_at: float
    """Last evidence that the engine works: a change, or a probe's answer."""
    probed_at: float
    """End of the last probe."""
    answer: Answer = Answer.DOWN
    """The front's last one."""
    silences: int = 0
    """Health questions in a row without an answer."""
    looked_at: float | None = None
    worked_at: float | None = None
    """When the engine's numbers were read last; None when the last try brought none."""
    work: Work | None = None
    """The last numbers."""
    held_back: bool = False
    """Whether a probe was refused because the queue was full, and nothing has moved since."""
    stalled_seconds: float = 0.0
    """How long it has had requests and not moved."""
    suspect_seconds: float = 0.0
    """How long the engine has not moved while it and the front contradicted each other.

    Where only the front has requests, mostly clients read slowly what is long computed; or the engine is in the first
    step of a request; or it hangs. Where only the engine has some, its numbers are old; or it hangs and clients gave
    up.
    """
    down_seconds: float = 0.0
    silent_seconds: float = 0.0
    """How long the front has been silent without using the CPU."""
    silent_cpu_seconds: float | None = None
    """Its CPU time when that began."""
    unanswered_seconds: float = 0.0
    """How long an idle engine has answered no probe."""
    wrong: int = 0
    """Wrong answers in a row."""
    wrong_seconds: float = 0.0
    """Since there were too many of them."""
    wrong_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What follows from it."""

    fault: str = ""
    """Why the replica takes no requests; empty when it may. Holds no number that grows."""
    restart: str = ""
    """Why vLLM has to be started again; empty when it has not."""


NOTHING = Finding()
"""Nothing is wrong."""


def after_health(watch: Watch, answer: Answer, *, at: float, cpu_seconds: float | None) -> Watch:
    """Return what is known after the front answered a health question, or did not.

    `cpu_seconds` is the CPU time that its process has used; None when that is unknown.
    """
    gap = _gap(watch.looked_at, at)
    watch = replace(
        watch,
        answer=answer,
        looked_at=at,
        silences=watch.silences + 1 if answer is Answer.SILENT else 0,
        down_seconds=watch.down_seconds + gap if answer is watch.answer is Answer.DOWN else 0.0,
        unanswered_seconds=watch.unanswered_seconds + gap if watch.unanswered_seconds else 0.0,
        wrong_seconds=watch.wrong_seconds + gap if watch.wrong > WRONG_ALLOWED else 0.0,
    )
    if answer is not Answer.SILENT or cpu_seconds is None:
        return replace(watch, silent_seconds=0.0, silent_cpu_seconds=None)
    idle = watch.silent_cpu_seconds is not None and (
        cpu_seconds - watch.silent_cpu_seconds <= IDLE_CPU_SHARE * (watch.silent_seconds + gap)
    )
    if idle:
        return replace(watch, silent_seconds=watch.silent_seconds + gap)
    return replace(watch, silent_seconds=0.0, silent_cpu_seconds=cpu_seconds)


def after_numbers(watch: Watch, work: Work | None, *, held: int | None, at: float) -> Watch:
    """Return what is known after the engine's numbers were asked for; None when there were none.

    `held` is the number of requests that the front has; None when it did not say. The clock of a stall runs only
    between two readings that follow each other.
    """
    if work is None:
        return replace(watch, worked_at=None)
    gap = _gap(watch.worked_at, at)
    before, watch = watch.work, replace(watch, work=work, worked_at=at)
    if before is not None and before.signature != work.signature:
        return _alive(watch, at)
    suspect = held is not None and bool(held) != bool(work.requests)
    suspect_seconds = watch.suspect_seconds + gap if suspect else 0.0
    if work.requests and suspect:
        # Nobody waits: neither a stall nor the end of one.
        return replace(watch, suspect_seconds=suspect_seconds)
    stalled_seconds = watch.stalled_seconds + gap if work.requests or watch.held_back else 0.0
    return replace(watch, stalled_seconds=stalled_seconds, suspect_seconds=suspect_seconds)


def after_probe(watch: Watch, probed: Probed) -> Watch:
    """Return what is known after a probe."""
    watch = replace(watch, probed_at=probed.ended_at)
    if probed.outcome is Outcome.UNANSWERED:
        if probed.disturbed or watch.alive_at > probed.started_at:
            # Others came meanwhile; the probe had to wait for its turn.
            return watch
        seconds = max(watch.unanswered_seconds, probed.ended_at - probed.started_at)
        return replace(watch, unanswered_seconds=seconds)
    if probed.outcome is Outcome.BUSY:
        # The front lives. If the engine moves, its numbers will say so; they are there where others are being answered.
        return replace(watch, held_back=not probed.disturbed or watch.held_back)
    alive = _alive(watch, probed.ended_at)
    if probed.outcome is Outcome.WRONG:
        return replace(alive, wrong=watch.wrong + 1, wrong_reason=probed.reason)
    return replace(alive, wrong=0, wrong_seconds=0.0, wrong_reason="")


def probe_due(watch: Watch, limits: WatchLimits, *, held: int | None, at: float) -> bool:
    """Return whether to probe now. Never while requests run, nor while they wait their turn: it is in nobody's way.

    `held` is the number of requests that the front has; None when it did not say.
    """
    # Without numbers of now, what the front says of its own requests decides.
    work = watch.work if watch.worked_at is not None else None
    requests = held if work is None else work.requests
    # None of its requests runs, and it takes no step: it hangs, or they wait for something else than their turn.
    waits = bool(work and work.requests and not work.running and watch.stalled_seconds >= limits.stall_seconds / 2)
    if watch.answer is not Answer.UP or (requests != 0 and not watch.suspect_seconds and not waits):
        return False
    since = at - max(watch.alive_at, watch.probed_at)
    if watch.unanswered_seconds or watch.wrong or watch.held_back:
        return since >= RETRY_SECONDS
    if waits:
        return since >= limits.stall_seconds / 2
    if watch.suspect_seconds:
        return watch.suspect_seconds >= limits.stall_seconds and since >= limits.stall_seconds
    return not held and since >= limits.probe_seconds


def canary_probe_due(watch: Watch, *, every_seconds: float, at: float) -> bool:
    """Return whether to probe an engine that a rollout watches, whatever else it does."""
    return watch.answer is Answer.UP and at - watch.probed_at >= every_seconds


def find(watch: Watch, limits: WatchLimits) -> Finding:
    """Return what is wrong with a replica that was ready, and whether it is to be started again."""
    restarts = (
        (watch.stalled_seconds, "no engine step for {} with " + _requests(watch)),
        (watch.unanswered_seconds, "no answer to a probe for {} while idle"),
        (watch.wrong_seconds, f"wrong answers to the probe for {{}}: {watch.wrong_reason}"),
        (watch.silent_seconds, "no answer to health questions for {} and no CPU time used"),
    )
    overdue = next((words for seconds, words in restarts if seconds >= limits.restart_seconds), "")
    if watch.down_seconds >= FAILED_SECONDS:
        overdue = "vLLM's engine has failed"
    # Not formatted before: the reason may hold braces.
    restart = overdue.replace("{}", f"{limits.restart_seconds:.0f} s", 1)
    return Finding(fault=_fault(watch, limits), restart=restart)


def _fault(watch: Watch, limits: WatchLimits) -> str:
    if watch.answer is Answer.DOWN:
        return "vLLM refuses health questions: its engine has failed"
    if watch.silences >= SILENCES_ALLOWED:
        return "vLLM does not answer health questions in time"
    if watch.stalled_seconds >= limits.stall_seconds:
        return f"its engine makes no progress: no step for more than {limits.stall_seconds:.0f} s while it has requests"
    if watch.unanswered_seconds:
        return "its engine does not answer a probe while it is idle"
    if watch.wrong > WRONG_ALLOWED:
        return f"its answers are wrong: {watch.wrong_reason}"
    return ""


def _requests(watch: Watch) -> str:
    if watch.work is None or not watch.work.requests:
        return "a full queue"
    return f"{watch.work.requests} requests"


def _alive(watch: Watch, at: float) -> Watch:
    return replace(
        watch, alive_at=at, stalled_seconds=0.0, suspect_seconds=0.0, unanswered_seconds=0.0, held_back=False
    )


def _gap(before: float | None, at: float) -> float:
    return 0.0 if before is None else min(at - before, LONGEST_GAP_SECONDS)
