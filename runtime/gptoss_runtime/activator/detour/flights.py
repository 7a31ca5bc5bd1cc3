"""Lets the second of two equal requests wait for the first one's answer instead of asking a replica too."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Flights:
    """Requests under way whose answer may be kept, by key."""

    def __init__(self, *, wait_seconds: float) -> None:
        self._wait_seconds = wait_seconds
        self._landed: dict[bytes, asyncio.Event] = {}

    async def wait(self, key: bytes) -> None:
        """Return when no request of this key is under way, or when the time is up."""
        if key in self._landed:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait_seconds):
                    await self._landed[key].wait()

    @contextmanager
    def under_way(self, key: bytes) -> Iterator[None]:
        """Say that a request is under way, as long as the context lasts. Only the first of a key is waited for."""
        landed = asyncio.Event()
        first = self._landed.setdefault(key, landed) is landed
        try:
            yield
        finally:
            if first:
                del self._landed[key]
            landed.set()
