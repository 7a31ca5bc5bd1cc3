"""Letting TLS connections end before their event loop does."""

import asyncio


CLOSE_SECONDS = 0.3
"""aiohttp closes TLS connections after its session says that it is closed, and offers no event for it.

Its documentation says to wait a quarter of a second (Graceful Shutdown).
"""


async def let_connections_end() -> None:
    """Return when closed connections have had the time to end."""
    await asyncio.sleep(CLOSE_SECONDS)
