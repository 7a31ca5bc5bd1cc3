"""How far the next replica is from ready: learnt from the starts before."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from gptoss_runtime.contract import Gauge, Phase, ReplicaState


REMEMBERED_STARTS = 8
"""Starts whose median is the estimate. A few old ones must not outweigh a new model or node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """When a replica will be ready."""

    seconds: float | None
    """Estimated time to go. None: unknown."""
    text: str
    """The same and how far the start is, in words for people."""


class StartTimes:
    """How long the latest starts took, each once."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def learn(self, state: ReplicaState) -> None:
        """Remember how long this replica's start took, if it is over."""
        seconds = state.gauges.get(Gauge.LOAD_SECONDS)
        if seconds is None or state.start_id in self._seconds:
            return
        self._seconds[state.start_id] = seconds
        while len(self._seconds) > REMEMBERED_STARTS:
            del self._seconds[next(iter(self._seconds))]

    def typical_seconds(self) -> float | None:
        """Return the median. None: no start was seen yet."""
        return median(self._seconds.values()) if self._seconds else None


def look_ahead(states: Sequence[ReplicaState | None], typical_seconds: float | None) -> Outlook:
    """Return when a replica will be ready, from what each known one says; None for one that does not answer."""
    starting = [state for state in states if state and state.phase in {Phase.STARTING, Phase.LOADING}]
    if not starting:
        return Outlook(seconds=None, text=f"no replica is ready yet; 0 of {len(states)} starting")
    furthest = max(starting, key=lambda state: state.uptime_seconds)
    doing = "loading the model" if furthest.phase is Phase.LOADING else "starting"
    seconds, to_go = _to_go(furthest.uptime_seconds, typical_seconds)
    text = (
        f"no replica is ready yet; {len(starting)} of {len(states)} starting, "
        f"{doing} for {furthest.uptime_seconds:.0f} s, {to_go}"
    )
    return Outlook(seconds=seconds, text=text)


def _to_go(uptime_seconds: float, typical_seconds: float | None) -> tuple[float | None, str]:
    if typical_seconds is None:
        return None, "how long it takes is not known yet"
    left = typical_seconds - uptime_seconds
    if left <= 0:
        return None, f"longer than the usual {typical_seconds:.0f} s"
    return left, f"about {left:.0f} s to go"
