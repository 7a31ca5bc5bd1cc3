"""Running something beside something else."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any


@asynccontextmanager
async def beside(coroutine: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run something that never ends beside what follows. A bug in it ends the server: a blind one would look well."""
    other, main = asyncio.ensure_future(coroutine), asyncio.current_task()

    def end(task: asyncio.Future[None]) -> None:
        if main is not None and not task.cancelled():
            main.cancel()

    other.add_done_callback(end)
    try:
        yield
    finally:
        other.cancel()
        # Raises what went wrong there, in place of the cancellation here.
        with suppress(asyncio.CancelledError):
            await other
