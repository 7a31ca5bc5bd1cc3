"""Start and speed of gptoss-server's vLLM beside vLLM alone with the same flags.

Both run at once and are measured in turn, in short slices; the other one is stopped meanwhile (SIGSTOP), so that each
has the whole machine, and both have the machine of the same minute.
"""

import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from signal import SIGCONT, SIGSTOP

from e2e.bench.machine import Meter
from e2e.bench.processes import cpu_seconds, resident_mb
from e2e.bench.rows import Row
from e2e.bench.runtime.rows import OURS, PLAIN, SLICE, SPEED, START
from e2e.vllm.faults import FaultError
from e2e.vllm.load import Clients, End, Request, clients
from e2e.vllm.replica import Server, an_order, started_plain, started_replica
from e2e.vllm.room import Room


ORDERS = an_order()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured in each round."""

    slices: int = 6
    streams: int = 8
    tokens: int = 300
    """Of each stream."""
    first_tokens: int = 60
    """Requests for a single token, one after the other."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One of the two servers."""

    name: str
    server: Server


def measure_speed(room: Room, sizes: Sizes, number: int) -> list[Row]:
    """Return the rows of one round. Raises ServerError, FaultError."""
    with contextlib.ExitStack() as stack:
        names = (OURS, PLAIN) if number % 2 else (PLAIN, OURS)
        subjects: list[Subject] = []
        rows: list[Row] = []
        for name in names:
            with contextlib.ExitStack() as frozen:
                for other in subjects:
                    frozen.enter_context(stopped(other))
                server, seconds = _started(room, name, stack)
            subjects.append(Subject(name, server))
            values = {"start_s": seconds, "rss_mb": resident_mb([server.program.pid])}
            rows.append(Row(item=START, subject=name, round=number, values=values))
        for part in range(sizes.slices):
            # Who is first changes, so that neither always meets the machine as the other left it.
            for subject in subjects if part % 2 else reversed(subjects):
                with contextlib.ExitStack() as frozen:
                    for other in subjects:
                        if other is not subject:
                            frozen.enter_context(stopped(other))
                    values = asyncio.run(_slice(subject.server, sizes))
                values[SLICE] = part
                rows.append(Row(item=SPEED, subject=subject.name, round=number, values=values))
        return rows


def _started(room: Room, name: str, stack: contextlib.ExitStack) -> tuple[Server, float]:
    """Return the server, which is up, and the seconds that it took."""
    began = time.monotonic()
    if name == OURS:
        replica = stack.enter_context(started_replica(room, ORDERS))
        replica.await_ready()
        return replica, time.monotonic() - began
    server = stack.enter_context(started_plain(room, ORDERS))
    server.await_page(server.openai_port, "/health")
    return server, time.monotonic() - began


@contextlib.contextmanager
def stopped(subject: Subject) -> Iterator[None]:
    """Keep a server from running meanwhile."""
    pids = subject.server.program.pids()
    try:
        for pid in pids:
            os.kill(pid, SIGSTOP)
        yield
    finally:
        for pid in reversed(pids):
            os.kill(pid, SIGCONT)


async def _slice(server: Server, sizes: Sizes) -> dict[str, float]:
    async with clients(server.openai_port) as load:
        # After having been stopped, a server has things to make up for.
        await _all_done(load, sizes.streams, 20)
        pids = [server.program.pid]
        meter = Meter(pids)
        spent, began = cpu_seconds(pids), time.monotonic()
        await _all_done(load, sizes.streams, sizes.tokens)
        seconds, spent = time.monotonic() - began, cpu_seconds(pids) - spent
        singles = [_done(await load.one(1)) for _ in range(sizes.first_tokens)]
        tokens = sizes.streams * sizes.tokens
        return {
            "tokens_per_second": tokens / seconds,
            "cpu_s_per_1000_tokens": 1000 * spent / tokens,
            "ttft_p50_ms": 1000 * statistics.median((one.first or 0) - one.sent for one in singles),
            "rss_mb": resident_mb(pids),
            **meter.read(),
        }


async def _all_done(load: Clients, streams: int, tokens: int) -> None:
    for request in await asyncio.gather(*(load.one(tokens) for _ in range(streams))):
        _done(request)


def _done(request: Request) -> Request:
    if request.end is not End.DONE or request.first is None:
        raise FaultError(f"a request ended badly while speed was measured: {request.end} {request.error}")
    return request
