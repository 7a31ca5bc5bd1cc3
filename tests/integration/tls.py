"""Letting TLS connections end before their event loop does."""

import asyncio


CLOSE_SECONDS = 10.0
LOOK_SECONDS = 0.02
ITS_OWN = 1
"""What an event loop without connections watches: the socket by which it wakes itself."""


async def let_connections_end() -> None:
    """Return when this loop has no connection left. Raises TimeoutError after `CLOSE_SECONDS`.

    aiohttp closes TLS connections after its session says that it is closed, and offers no event for it.
    """
    selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]  # noqa: SLF001 - nobody else knows
    async with asyncio.timeout(CLOSE_SECONDS):
        while len(selector.get_map()) > ITS_OWN:  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(LOOK_SECONDS)
    # What was taken from the selector is closed in the loop's next turn.
    await asyncio.sleep(LOOK_SECONDS)
