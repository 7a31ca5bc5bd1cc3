"""The work queue: which objects need a pass, one pass at a time for each, several objects at once.

Level-triggered: a key only says "look at this object". Many reasons to look make one pass.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from gptoss_operator.errors import GptOssError, Unavailable
from gptoss_operator.shell.store import Key


WORKERS: Final = 8
BACKOFF_SECONDS: Final = (0.5, 20.0)
"""The first and the longest pause of a key whose passes fail."""

logger = logging.getLogger(__name__)


class WorkQueue:
    """Runs `work` for each key that was added, and again when it asks for it or fails."""

    def __init__(
        self,
        work: Callable[[Key], Awaitable[float | None]],
        *,
        workers: int = WORKERS,
        backoff_seconds: tuple[float, float] = BACKOFF_SECONDS,
    ) -> None:
        """`work` makes one pass and returns after how many seconds to make the next at the latest, or None."""
        self._work = work
        self._workers = workers
        self._backoff_seconds = backoff_seconds
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: set[Key] = set()
        self._running: set[Key] = set()
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._held_until: dict[Key, float] = {}

    def __len__(self) -> int:
        """How many keys wait for a pass now."""
        return len(self._waiting)

    def add(self, key: Key) -> None:
        """Make a pass as soon as a worker is free; after a failure, not before its pause is over."""
        held_for = self._held_until.get(key, 0.0) - asyncio.get_running_loop().time()
        if key in self._running:
            self._again.add(key)
        elif held_for > 0:
            self.add_after(key, held_for)
        elif key not in self._waiting:
            self._cancel_timer(key)
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Make a pass in `seconds` at the latest. An earlier date that is set already stays."""
        loop = asyncio.get_running_loop()
        known = self._timers.get(key)
        if known is not None and known.when() <= loop.time() + seconds:
            return
        self._cancel_timer(key)
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a key that has no object any more."""
        self._cancel_timer(key)
        self._failures.pop(key, None)
        self._held_until.pop(key, None)
        self._again.discard(key)

    async def run(self) -> None:
        """Work for ever."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._serve(), name=f"worker {number}")

    async def resync(self, keys: Callable[[], Iterable[Key]], seconds: float) -> None:
        """Add all `keys` every `seconds`, for ever: whatever a watch may have missed is found then."""
        while True:
            await asyncio.sleep(seconds)
            for key in keys():
                self.add(key)

    async def _serve(self) -> None:
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            self._running.add(key)
            try:
                look_again_in = await self._attempt(key)
            finally:
                self._running.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            if look_again_in is not None and key not in self._waiting:
                self.add_after(key, look_again_in)
            # A pass that has nothing to write never waits: many in a row would hold up the Lease and the questions.
            await asyncio.sleep(0)

    async def _attempt(self, key: Key) -> float | None:
        """Make one pass. A failed one holds the key back for a while, whatever happens to the object meanwhile."""
        try:
            look_again_in = await self._work(key)
        except GptOssError as error:
            pause = self._hold(key, error.retry_after_seconds if isinstance(error, Unavailable) else None)
            logger.warning("Pass of %s/%s failed: %s; next in %.1f s", key.namespace, key.name, error, pause)
            return pause
        except Exception:
            # A defect of ours, met by one object, must not stop the passes of the others.
            pause = self._hold(key, None)
            logger.exception("Pass of %s/%s failed unexpectedly; next in %.1f s", key.namespace, key.name, pause)
            return pause
        self._failures.pop(key, None)
        self._held_until.pop(key, None)
        return look_again_in

    def _hold(self, key: Key, retry_after_seconds: float | None) -> float:
        first, longest = self._backoff_seconds
        self._failures[key] = failures = self._failures.get(key, 0) + 1
        backoff: float = min(longest, first * 2 ** min(failures - 1, 16)) * random.uniform(0.5, 1.0)  # noqa: S311  (jitter)
        pause = max(backoff, retry_after_seconds or 0.0)
        self._held_until[key] = asyncio.get_running_loop().time() + pause
        return pause

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        # The clock of the loop may be a hair early: the pause is over because its timer says so.
        self._held_until.pop(key, None)
        self.add(key)

    def _cancel_timer(self, key: Key) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
