"""Looks now and then at what changes slowly: vLLM's models, the pod's memory, the GPUs."""

import asyncio
import time

from gptoss_runtime.server.board import Board
from gptoss_runtime.server.engine import Engine
from gptoss_runtime.server.gpu_watch import GpuWatch
from gptoss_runtime.server.machine import read_memory


LOOK_EVERY_SECONDS = 5.0
MODELS_EVERY_SECONDS = 60.0


async def keep_looking(board: Board, engine: Engine, gpus: GpuWatch) -> None:
    """Write them on the board, until cancelled."""
    asked_at = time.monotonic()
    while True:
        board.note_machine(read_memory(), await gpus.read_gpus())
        now = time.monotonic()
        if board.was_ready and now - asked_at >= MODELS_EVERY_SECONDS:
            asked_at = now
            # No answer is no news: the front has its own clock.
            board.models = await engine.ask_models() or board.models
        await asyncio.sleep(LOOK_EVERY_SECONDS)
