"""Loops that run beside the rest."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager


@asynccontextmanager
async def background(*loops: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run endless loops until the block ends, and wait until they have ended too.

    A loop that fails ends the block with its error: kubelet starts the activator again, and HAProxy goes on meanwhile.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop) for loop in loops]
        yield
        for task in tasks:
            task.cancel()
