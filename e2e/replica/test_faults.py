"""vLLM's engine dies, or hangs: the replica takes itself out, says why, and ends if that does not heal it."""

import asyncio
import os
import time
from collections.abc import Iterator
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest

from e2e.shown import shown
from e2e.vllm.load import End, clients, ended, watched
from e2e.vllm.replica import Replica, an_order, running_replica
from e2e.vllm.room import Room
from gptoss_runtime.contract import ExitCode, Gauge, Phase


STREAMS = 8
TOKENS = 3000
STALL_SECONDS, PROBE_SECONDS, RESTART_SECONDS = 5, 5, 25
pytestmark = pytest.mark.timeout(300)


def test_a_killed_engine_is_out_within_a_second_and_ends_the_replica(room: Room) -> None:
    async def scenario(replica: Replica) -> None:
        async with clients(replica.openai_port) as load, watched(replica) as watcher:
            streams = await load.streams(STREAMS, TOKENS)
            killed = time.monotonic()
            os.kill(replica.engine_pid(), SIGKILL)
            out = await watcher.out(seconds=30)
            await ended(replica, seconds=60)
            await load.all_ended()
            assert out - killed <= 1
            assert {stream.end for stream in streams} == {End.ERROR}

    with running_replica(room, an_order()) as replica:
        asyncio.run(scenario(replica))
        assert replica.program.exit_status == ExitCode.ENGINE_DIED, replica.said()
        assert "engine died while serving" in replica.message()
        assert "engine core" in replica.message().lower().replace("enginecore", "engine core")


@pytest.fixture(scope="module")
def stalling(request: pytest.FixtureRequest, room: Room) -> Iterator[Replica]:
    """A replica that looks for stalls often. The last test ends it."""
    orders = an_order(stall_seconds=STALL_SECONDS, probe_seconds=PROBE_SECONDS, restart_seconds=RESTART_SECONDS)
    with shown(request):
        running = running_replica(room, orders)
        replica = running.__enter__()
    yield replica
    running.__exit__(None, None, None)


def test_an_idle_engine_that_stops_is_noticed_by_a_probe(stalling: Replica) -> None:
    async def scenario() -> None:
        async with watched(stalling) as watcher:
            await watcher.back(seconds=30)
            stopped = time.monotonic()
            os.kill(stalling.engine_pid(), SIGSTOP)
            try:
                out = await watcher.out(seconds=PROBE_SECONDS + 20)
                state = await asyncio.to_thread(stalling.state)
            finally:
                os.kill(stalling.engine_pid(), SIGCONT)
            await watcher.back(seconds=30)
            assert out - stopped <= PROBE_SECONDS + 12
            assert state.phase is Phase.NOT_READY
            assert "probe" in state.verdict.reason

    asyncio.run(scenario())


def test_an_engine_that_stops_under_load_is_out_after_the_window_and_back_when_it_goes_on(stalling: Replica) -> None:
    async def scenario() -> None:
        async with clients(stalling.openai_port) as load, watched(stalling) as watcher:
            await watcher.back(seconds=30)
            streams = await load.streams(STREAMS, 500)
            stopped = time.monotonic()
            os.kill(stalling.engine_pid(), SIGSTOP)
            try:
                out = await watcher.out(seconds=STALL_SECONDS + 20)
                state = await asyncio.to_thread(stalling.state)
            finally:
                os.kill(stalling.engine_pid(), SIGCONT)
            await watcher.back(seconds=30)
            assert out - stopped <= STALL_SECONDS + 2
            assert out - stopped >= STALL_SECONDS - 1
            assert state.gauges[Gauge.STALLED_SECONDS] >= STALL_SECONDS - 1
            await load.all_ended()
            # What the client waited for came.
            assert {stream.end for stream in streams} == {End.DONE}

    asyncio.run(scenario())


def test_an_engine_that_stays_stopped_ends_the_replica_with_the_reason(stalling: Replica) -> None:
    async def scenario() -> None:
        async with clients(stalling.openai_port) as load, watched(stalling) as watcher:
            await watcher.back(seconds=30)
            await load.streams(STREAMS, TOKENS)
            stopped = time.monotonic()
            os.kill(stalling.engine_pid(), SIGSTOP)
            gone = await ended(stalling, seconds=RESTART_SECONDS + 30)
            assert RESTART_SECONDS - 1 <= gone - stopped <= RESTART_SECONDS + 10

    asyncio.run(scenario())
    assert stalling.program.exit_status == ExitCode.ENGINE_DIED, stalling.said()
    assert "no engine step for" in stalling.message()
