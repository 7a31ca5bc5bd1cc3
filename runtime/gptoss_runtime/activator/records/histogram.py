"""Counting into buckets: plain lists, since prometheus_client takes a lock for each of a request's four values."""

from collections.abc import Iterator, Sequence


WAIT_BOUNDS_MS = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 180000, 600000)
"""Time in the queue, to the first token, or altogether: a gateway's millisecond to a long answer."""
TOKEN_BOUNDS_MS = (1, 2, 4, 6, 8, 10, 15, 20, 30, 40, 60, 80, 100, 200, 500, 1000)
"""Time between two tokens."""
_MS = 0.001


class Histogram:
    """How often values fell into each bucket. Who counts adds to `counts` and `sum_ms` himself, to be quick."""

    __slots__ = ("bounds_ms", "counts", "sum_ms")

    def __init__(self, bounds_ms: Sequence[float]) -> None:
        self.bounds_ms = bounds_ms
        self.counts = [0] * (len(bounds_ms) + 1)
        """By bucket, that of all larger values last: a value's place is `bisect_left(bounds_ms, value)`."""
        self.sum_ms: float = 0.0

    def seconds(self) -> float:
        """Return all values added up."""
        return self.sum_ms * _MS

    def buckets(self) -> Iterator[tuple[str, float]]:
        """Yield each bucket's upper bound in seconds, as text, and how many values were not above it."""
        # Copied at once, so that buckets never contradict each other while another thread counts.
        counts = self.counts.copy()
        below = 0
        for bound, count in zip((*(repr(bound * _MS) for bound in self.bounds_ms), "+Inf"), counts, strict=True):
            below += count
            yield bound, below
