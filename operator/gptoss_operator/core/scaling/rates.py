"""From counters that begin again to what was counted when. Pure; times are seconds of one clock that does not go back.

A reset is told by the start id, never guessed from a value that fell. What was counted before a reset stays counted;
what was counted between the last reading and the reset is lost.
"""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple


KEEP_SECONDS: Final = 700.0
"""For how long the course of a counter is kept: a rate of ten minutes, and some more."""
STEP_SECONDS: Final = 4.0
"""Points of a course that are closer than this add nothing to it."""
BIN_SECONDS: Final = 10.0
"""What is counted within this time is counted together."""

Gains = Mapping[str, float]
"""How much each counter grew, by its name."""


class Reading(NamedTuple):
    """What one process said of its counters."""

    at: float
    start_id: str
    """Another one: the process began anew, and its counters with it."""
    sequence: int
    """Higher in each document of one start."""
    counters: Gains
    """Totals since `start_id`. A counter that is not known is absent."""


def gained(before: Reading, after: Reading, names: Collection[str]) -> Gains | None:
    """Return how much these counters grew from one reading to the next, never less than zero.

    After a reset it is all that was counted since. None: `after` is no news, or one of the counters is not known.
    """
    if after.at <= before.at or not is_newer(before, after):
        return None
    reset = after.start_id != before.start_id
    found = {}
    for name in names:
        value = after.counters.get(name)
        earlier = 0.0 if reset else before.counters.get(name)
        if value is None or earlier is None or not (math.isfinite(value) and math.isfinite(earlier)):
            return None
        found[name] = max(value - earlier, 0.0)
    return found


def is_newer(before: Reading, after: Reading) -> bool:
    """Return whether `after` was said later: of another start, or with a higher sequence."""
    return after.start_id != before.start_id or after.sequence > before.sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How much was counted up to which time, over all resets."""

    points: tuple[tuple[float, float], ...]
    """Times and totals, none of which falls; at least one."""
    from_start: bool = False
    """Whether nothing was counted before the first point. If not, nothing is known of the time before."""

    @property
    def known_since(self) -> float:
        """From when on it is known what was counted."""
        return -math.inf if self.from_start else self.points[0][0]

    def total(self, at: float) -> float:
        """Return the total at a time; between two points as if it had grown evenly.

        Before the first point it is the first total, after the last the last one.
        """
        place = bisect_left(self.points, (at, -math.inf))
        if place == 0:
            return self.points[0][1]
        if place == len(self.points):
            return self.points[-1][1]
        (earlier, low), (later, high) = self.points[place - 1], self.points[place]
        return low + (high - low) * (at - earlier) / (later - earlier)


def continued(course: Course, at: float, gain: float) -> Course:
    """Return the course with one more point, and without those that are too old."""
    points = course.points
    total = points[-1][1] + gain
    if at <= points[-1][0]:
        return course
    if len(points) > 1 and points[-1][0] - points[-2][0] < STEP_SECONDS:
        points = points[:-1]
    # One point before the time that is kept, so that the whole of it can be told.
    first = max(bisect_left(points, (at - KEEP_SECONDS, math.inf)) - 1, 0)
    return Course(points=(*points[first:], (at, total)), from_start=course.from_start and first == 0)


def rate(courses: Iterable[Course], begin: float, end: float) -> float | None:
    """Return how much all of them counted per second from `begin` to `end`. None: one of them does not know."""
    known = tuple(courses)
    if end <= begin or not known or known_since(known) > begin:
        return None
    return sum(course.total(end) - course.total(begin) for course in known) / (end - begin)


def known_since(courses: Iterable[Course]) -> float:
    """Return from when on all of them know what was counted."""
    return max((course.known_since for course in courses), default=-math.inf)


class Bins:
    """What was counted of late, by all who count the same. Each gain counts at the time at which it was read."""

    def __init__(self, keep_seconds: float) -> None:
        """Forget what is older than `keep_seconds`."""
        self._keep_seconds = keep_seconds
        self._bins: deque[tuple[float, dict[str, float]]] = deque()

    def add(self, at: float, gains: Gains) -> None:
        """Count `gains`. `at` is not much less than at the last call."""
        if not self._bins or at - self._bins[-1][0] >= BIN_SECONDS:
            self._bins.append((at, dict(gains)))
            while self._bins[0][0] <= at - self._keep_seconds - BIN_SECONDS:
                self._bins.popleft()
            return
        sums = self._bins[-1][1]
        for name, gain in gains.items():
            sums[name] = sums.get(name, 0.0) + gain

    def sums(self, now: float) -> Gains | None:
        """Return what was counted within the time that is kept. None: nobody has counted anything, not even zero."""
        recent = [sums for at, sums in self._bins if at > now - self._keep_seconds]
        names = {name for sums in recent for name in sums}
        return {name: math.fsum(sums.get(name, 0.0) for sums in recent) for name in names} if recent else None


def quantile(counts: Mapping[float, float], share: float) -> float | None:
    """Return the value below which `share` of all values lie. None: there are none.

    `counts` has how many values lie up to each bound and above the bound before it. Within a bucket values are taken to
    be spread evenly, as Prometheus does (histogram_quantile); of those above all finite bounds only the greatest such
    bound is known.
    """
    total = math.fsum(counts.values())
    if total <= 0:
        return None
    wanted, below, lower = share * total, 0.0, 0.0
    for bound in sorted(counts):
        count = counts[bound]
        if count > 0 and below + count >= wanted:
            return lower if math.isinf(bound) else lower + (bound - lower) * min(max(wanted - below, 0.0) / count, 1.0)
        below += count
        lower = bound
    return lower
