"""Lines for people who wait."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable


EVERY_SECONDS = 10.0
WINDOW = 6
"""Lines that the rate is averaged over."""
GB = 10**9

log = logging.getLogger("gptoss_runtime.weights")


class Progress:
    """Counts the bytes of one fetch, and says now and then how far it is."""

    def __init__(self, *, total: int, done: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Count up to `total` bytes, of which `done` were there before."""
        self._total = total
        self._done = done
        self._clock = clock
        self._lock = threading.Lock()
        self._marks = deque([(clock(), done)], maxlen=WINDOW)

    def add(self, size: int) -> None:
        """Note that `size` more bytes came; negative when they turned out to be wrong."""
        with self._lock:
            self._done += size
            now = self._clock()
            if now - self._marks[-1][0] < EVERY_SECONDS:
                return
            line = progress_line(self._done, self._total, since=self._marks[0], now=now)
            self._marks.append((now, self._done))
        log.info("%s", line)


def progress_line(done: int, total: int, *, since: tuple[float, int], now: float) -> str:
    """Return how far a fetch is; `since` is an earlier time in seconds, and the bytes that were there then."""
    start, before = since
    rate = max(done - before, 0) / max(now - start, 1e-3)
    line = f"{done / GB:.1f} of {total / GB:.1f} GB, {rate / 10**6:.0f} MB/s"
    return f"{line}, {_about((total - done) / rate)} left" if rate > 0 else line


def _about(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds > 1.5 * size:
            return f"about {seconds / size:.0f} {unit}"
    return f"about {seconds:.0f} s"
