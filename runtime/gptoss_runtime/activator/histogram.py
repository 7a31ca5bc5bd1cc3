"""Counting into buckets: a list of numbers, since every request is counted four times and prometheus_client locks."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence


WAIT_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600)
"""Seconds in the queue, to the first token, or altogether: a gateway's millisecond to a long answer."""
TOKEN_BOUNDS = (0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.2, 0.5, 1)
"""Seconds between two tokens."""


class Histogram:
    """How often values fell into each bucket."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def is_empty(self) -> bool:
        """Return whether nothing was counted."""
        return not any(self._counts)

    def total(self) -> float:
        """Return all values added up."""
        return self._sum

    def buckets(self) -> Iterator[tuple[str, float]]:
        """Yield each bucket's upper bound and how many values were not above it, as Prometheus wants them."""
        # Copied at once, so that buckets never contradict each other while another thread counts.
        counts = self._counts.copy()
        below = 0
        for bound, count in zip((*map(_text, self._bounds), "+Inf"), counts, strict=True):
            below += count
            yield bound, below


def _text(bound: float) -> str:
    return repr(float(bound))
