"""When a replica leaves, and what to do next while it does. Pure.

Order of things: HAProxy hears `drain` and readiness falls at once; new requests are still accepted while that news
travels; running requests end by themselves; those that have not ended at the deadline are cut off with an error that
clients understand; then vLLM is asked to end, and after a while made to. vLLM is not asked earlier, because from then
on it answers new requests with 500, and because its own time-out leaves open streams hanging without an end.

There are two reasons to leave. Kubernetes asks: then the process ends when the requests have. The cloud announces that
the machine goes: then the process stays, since it would only be started again on a machine that is going.
"""

from dataclasses import dataclass
from enum import StrEnum

from gptoss_runtime.contract import Notice, NoticeKind


KILL_AFTER_SECONDS = 5.0
"""From vLLM's SIGTERM to SIGKILL of its process group, when no request was left.

Taking its workers down takes vLLM 9 to 12 s. Nothing is gained by it: it saves nothing then, the kernel and the driver
give the memory back either way, and the pod would hold its GPUs longer."""
KILL_AFTER_CUT_SECONDS = 2.0
"""The same when requests were cut off: their clients have been told."""
CUT_BEFORE_SECONDS = 5.0
"""How long before the machine goes requests are cut off, so that the errors still reach their clients."""
NOTICE_MARGIN_SECONDS = 10.0
"""How much earlier than necessary a drain for a notice begins."""


class DrainStep(StrEnum):
    """What the supervisor does now."""

    WAIT = "Wait"
    CUT = "Cut"
    """Have vLLM's middleware end all open requests and refuse new ones, once."""
    LIFT = "Lift"
    """Have it let requests in again: the machine stays after all."""
    TERMINATE = "Terminate"
    """Send SIGTERM to vLLM, once."""
    KILL = "Kill"
    """Send SIGKILL to vLLM's process group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainLimits:
    """What the orders grant."""

    endpoint_grace_seconds: float
    drain_seconds: float
    kill_after_seconds: float = KILL_AFTER_SECONDS

    @property
    def seconds(self) -> float:
        """From the beginning of a drain until requests are cut off."""
        return self.endpoint_grace_seconds + self.drain_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasons:
    """Why to leave. Times are seconds on one clock."""

    asked_at: float | None = None
    """When Kubernetes asked; None as long as it has not."""
    noticed_at: float | None = None
    """When a notice that matters came; None while there is none."""
    machine_goes_at: float | None = None
    """When the machine goes, as the notice says; None when it does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainSeen:
    """How far the drain is. Times are seconds on the same clock as those of `Reasons`."""

    now: float
    began_at: float
    """When the drain began."""
    was_ready: bool
    """Whether this replica has ever been ready; before that it has no requests."""
    in_flight: int | None
    """Requests in vLLM, queued and running. None when vLLM did not say."""
    cut: bool
    """Whether requests have been cut off."""
    since_terminate_seconds: float | None
    """Since vLLM's SIGTERM; None before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainDecision:
    """One step and its reason."""

    step: DrainStep
    reason: str


def matters(notice: Notice | None) -> bool:
    """Return whether a notice is a reason to leave. That others are safer is none: requests go on."""
    return notice is not None and notice.kind is not NoticeKind.REBALANCE


def is_time(limits: DrainLimits, reasons: Reasons, now: float) -> bool:
    """Return whether the replica takes no more requests.

    For a notice with a deadline, as late as lets requests have all the time that they are promised.
    """
    if reasons.asked_at is not None:
        return True
    if reasons.noticed_at is None:
        return False
    if reasons.machine_goes_at is None:
        return True
    return reasons.machine_goes_at - now <= limits.seconds + NOTICE_MARGIN_SECONDS


def cut_at(limits: DrainLimits, reasons: Reasons, began_at: float) -> float:
    """Return when the requests that are left are cut off. A second reason never makes it later."""
    ends = []
    if reasons.asked_at is not None:
        ends.append(reasons.asked_at + limits.seconds)
    if reasons.noticed_at is not None:
        goes_at = reasons.machine_goes_at
        ends.append(began_at + limits.seconds if goes_at is None else goes_at - CUT_BEFORE_SECONDS)
    return min(ends, default=began_at + limits.seconds)


def next_step(limits: DrainLimits, reasons: Reasons, seen: DrainSeen) -> DrainDecision:
    """Return what to do now, while the process still runs and the replica leaves.

    The bound on everything, once Kubernetes asked: grace and drain seconds until the cut, and at most
    kill_after_seconds more until SIGKILL.
    """
    if seen.since_terminate_seconds is not None:
        seconds = min(KILL_AFTER_CUT_SECONDS, limits.kill_after_seconds) if seen.cut else limits.kill_after_seconds
        return _after_terminate(seconds, seen.since_terminate_seconds)
    if not seen.was_ready or seen.cut:
        return _end(reasons, "the requests have been cut off" if seen.cut else "the replica was not ready yet")
    due = cut_at(limits, reasons, seen.began_at)
    if seen.now < min(due, seen.began_at + limits.endpoint_grace_seconds):
        return _decide(DrainStep.WAIT, "still accepting requests while the gateways learn of the drain")
    if seen.in_flight == 0:
        return _end(reasons, "no request is left")
    if seen.now >= due:
        running = "an unknown number of" if seen.in_flight is None else seen.in_flight
        goes = reasons.machine_goes_at is not None and due == reasons.machine_goes_at - CUT_BEFORE_SECONDS
        why = "the machine is about to go" if goes else f"{limits.drain_seconds:.0f} s of draining have passed"
        return _decide(DrainStep.CUT, f"{why}; {running} requests are cut off")
    return _decide(DrainStep.WAIT, "requests are finishing")


def _end(reasons: Reasons, reason: str) -> DrainDecision:
    if reasons.asked_at is None:
        return _decide(DrainStep.WAIT, f"{reason}; the process stays until the machine goes")
    return _decide(DrainStep.TERMINATE, reason)


def _after_terminate(kill_after_seconds: float, seconds: float) -> DrainDecision:
    if seconds < kill_after_seconds:
        return _decide(DrainStep.WAIT, "vLLM is ending")
    return _decide(DrainStep.KILL, f"vLLM did not end within {kill_after_seconds:.0f} s")


def _decide(step: DrainStep, reason: str) -> DrainDecision:
    return DrainDecision(step=step, reason=reason)
