"""What to do next while a replica drains. Pure.

Order of things: HAProxy hears `drain` and readiness falls at once; new requests are still accepted while that news
travels; running requests end by themselves; then vLLM is asked to end, and after a while made to. vLLM is not asked
earlier, because from then on it answers new requests with 500, and because its own time-out leaves open streams
hanging without an end.
"""

from dataclasses import dataclass
from enum import StrEnum


KILL_AFTER_SECONDS = 20.0
"""From vLLM's SIGTERM to SIGKILL of its process group. Taking its workers down took 9 to 12 s when it was measured."""


class DrainStep(StrEnum):
    """What the supervisor does now."""

    WAIT = "Wait"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainSeen:
    """How far the drain is."""

    elapsed_seconds: float
    """Since the server was asked to stop."""
    was_ready: bool
    """Whether this replica has ever been ready; before that it has no requests."""
    in_flight: int | None
    """Requests in vLLM, queued and running. None when vLLM did not say."""
    since_terminate_seconds: float | None
    """Since vLLM's SIGTERM; None before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainDecision:
    """One step and its reason."""

    step: DrainStep
    reason: str


def next_step(limits: DrainLimits, seen: DrainSeen) -> DrainDecision:
    """Return what to do now, while vLLM's process still runs.

    The bound on everything: grace and drain seconds until SIGTERM, kill_after_seconds more until SIGKILL.
    """
    if seen.since_terminate_seconds is not None:
        return _after_terminate(limits.kill_after_seconds, seen.since_terminate_seconds)
    if not seen.was_ready:
        return _decide(DrainStep.TERMINATE, "asked to stop before the model was loaded")
    if seen.elapsed_seconds < limits.endpoint_grace_seconds:
        return _decide(DrainStep.WAIT, "still accepting requests while the gateways learn of the drain")
    if seen.in_flight == 0:
        return _decide(DrainStep.TERMINATE, "no request is left")
    if seen.elapsed_seconds >= limits.endpoint_grace_seconds + limits.drain_seconds:
        running = "an unknown number of" if seen.in_flight is None else seen.in_flight
        return _decide(
            DrainStep.TERMINATE, f"{limits.drain_seconds:.0f} s of draining have passed; {running} requests are cut off"
        )
    return _decide(DrainStep.WAIT, "requests are finishing")


def _after_terminate(kill_after_seconds: float, seconds: float) -> DrainDecision:
    if seconds < kill_after_seconds:
        return _decide(DrainStep.WAIT, "vLLM is ending")
    return _decide(DrainStep.KILL, f"vLLM did not end within {kill_after_seconds:.0f} s")


def _decide(step: DrainStep, reason: str) -> DrainDecision:
    return DrainDecision(step=step, reason=reason)
