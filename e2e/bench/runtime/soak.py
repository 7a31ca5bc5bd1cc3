"""A replica at saturation for a long time, and whether it ever thinks that something is wrong."""

import asyncio
import time

from e2e.bench.machine import Meter
from e2e.bench.processes import resident_mb
from e2e.bench.rows import Row
from e2e.bench.runtime.rows import OURS, SOAK
from e2e.vllm.load import End, Request, clients, watched
from e2e.vllm.replica import Replica, an_order, running_replica
from e2e.vllm.room import Room


RUNNING = 32
CLIENTS = 96
"""Three times what may run at once, so that vLLM's queue is never empty."""
TOKENS = (30, 60, 120, 240)
WORDS = (1, 1, 1, 2500)
"""Of the prompts; a long one keeps the engine busy for a step that takes long."""
LOOK_EVERY_SECONDS = 0.25


def measure_soak(room: Room, seconds: float) -> Row:
    """Return what a replica with the default windows said within `seconds` of saturation. Raises ServerError."""
    with running_replica(room, an_order(max_num_seqs=RUNNING)) as replica:
        return Row(item=SOAK, subject=OURS, round=1, values=asyncio.run(_soak(replica, seconds)))


async def _soak(replica: Replica, seconds: float) -> dict[str, float]:
    ended: list[Request] = []
    async with clients(replica.openai_port) as load, watched(replica, every_seconds=LOOK_EVERY_SECONDS) as watcher:
        pids = [replica.program.pid]
        before, meter, began = resident_mb(pids), Meter(pids), time.monotonic()

        async def client(number: int) -> None:
            turn = number
            while time.monotonic() - began < seconds and replica.program.exit_status is None:
                # Another number in each prompt, so that none is answered from the cache alone.
                prompt = f"{turn} " + "word " * WORDS[turn % len(WORDS)]
                ended.append(await load.one(TOKENS[(turn // len(WORDS)) % len(TOKENS)], prompt=prompt))
                turn += CLIENTS + 1

        await asyncio.gather(*(client(number) for number in range(CLIENTS)))
        passed = time.monotonic() - began
        done = [request for request in ended if request.end is End.DONE]
        return {
            "seconds": passed,
            "looks": watcher.looks,
            "false_alarms": watcher.alarms,
            "looks_without_answer": watcher.silences,
            "requests": len(ended),
            "errors": len(ended) - len(done),
            "tokens_per_second": sum(request.tokens for request in done) / passed,
            "rss_growth_mb": resident_mb(pids) - before,
            **meter.read(),
        }
