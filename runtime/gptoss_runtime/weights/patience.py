"""How long failures are borne: progress resets the bound, so slow is never a failure."""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from gptoss_runtime.weights.errors import FetchError, TransientError


T = TypeVar("T")

FIRST_SECONDS = 120.0
"""How long the other side may fail before anything came: long enough for a network that starts with the pod."""
LATER_SECONDS = 600.0
"""The same once something came: long enough for a hub that restarts."""
LONGEST_WAIT_SECONDS = 30.0
SAY_SECONDS = 10.0

log = logging.getLogger("gptoss_runtime.weights")


class Stopped(Exception):
    """Another thread has failed; its reason is the one that counts."""


class Patience:
    """Decides whether a failure is tried again; shared by all threads of one fetch."""

    def __init__(
        self,
        *,
        first_seconds: float = FIRST_SECONDS,
        later_seconds: float = LATER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bound = first_seconds
        self._later = later_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._progress_at = clock()
        self._said_at = -SAY_SECONDS
        self._stopped = threading.Event()
        self._reason: Exception = FetchError("stopped")

    def progressed(self) -> None:
        """Note that something came. Raises Stopped."""
        if self._stopped.is_set():
            raise Stopped
        self._progress_at = self._clock()
        self._bound = self._later

    @property
    def reason(self) -> Exception:
        """Return what made the first thread give up."""
        return self._reason

    def give_up(self, reason: Exception) -> None:
        """Make all threads that wait or read end."""
        with self._lock:
            if not self._stopped.is_set():
                self._reason = reason
                self._stopped.set()

    def bear(self, error: TransientError, attempt: int) -> None:
        """Wait before the next attempt; the first failure in a row is attempt 0.

        Raises FetchError when nothing has come for too long, Stopped when another thread has failed.
        """
        since = self._clock() - self._progress_at
        if since > self._bound:
            raise FetchError(f"{error}: nothing came for {since:.0f} s; the next run goes on where this one stopped")
        backoff = min(LONGEST_WAIT_SECONDS, 0.5 * 2 ** min(attempt, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
        wait = min(max(backoff, error.after_seconds), max(self._bound - since, 0.5))
        self._say(error, wait)
        if self._stopped.wait(wait):
            raise Stopped

    def insist(self, ask: Callable[[], T]) -> T:
        """Return what `ask` answers, which is called again as long as it raises TransientError. Raises as `bear`."""
        attempt = 0
        while True:
            try:
                answer = ask()
            except TransientError as error:
                self.bear(error, attempt)
                attempt += 1
            else:
                self.progressed()
                return answer

    def _say(self, error: TransientError, wait: float) -> None:
        with self._lock:
            now = self._clock()
            if now - self._said_at < SAY_SECONDS:
                return
            self._said_at = now
        log.warning("%s; trying again in %.1f s", error, wait)
