"""Leaving with live requests: none is cut while there is time, and each that is cut hears of it."""

import asyncio
import time
from signal import SIGTERM

import pytest

from e2e.vllm.load import Clients, End, Request, clients, ended, watched
from e2e.vllm.replica import Replica, an_order, running_replica
from e2e.vllm.room import Room
from gptoss_runtime.contract import ExitCode


STREAMS = 32
SHORT_TOKENS = 60
"""Of streams that can end within a minute, also where the CPUs are busy."""
ENDLESS_TOKENS = 3000
pytestmark = pytest.mark.timeout(300)


def test_32_streams_end_by_themselves_within_a_drain_of_60_seconds(room: Room) -> None:
    async def scenario(replica: Replica) -> None:
        async with clients(replica.openai_port) as load, watched(replica) as watcher:
            streams = await load.streams(STREAMS, SHORT_TOKENS)
            assert not any(stream.ended for stream in streams)
            asked = time.monotonic()
            replica.program.signal(SIGTERM)
            assert await watcher.out(seconds=5) <= asked + 1
            await load.all_ended()
            assert [(stream.end, stream.error) for stream in streams] == [(End.DONE, "")] * STREAMS
            await ended(replica, seconds=30)

    with running_replica(room, an_order(drain_seconds=60)) as replica:
        asyncio.run(scenario(replica))
        assert replica.program.exit_status == ExitCode.OK, replica.said()
        assert replica.message() == ""


def test_streams_that_a_drain_of_2_seconds_cuts_end_with_an_error(room: Room) -> None:
    drain_seconds, grace_seconds = 2, 1

    async def scenario(replica: Replica) -> tuple[float, list[Request], Request]:
        async with clients(replica.openai_port) as load:
            streams = await load.streams(STREAMS, ENDLESS_TOKENS)
            whole = load.begin(ENDLESS_TOKENS, stream=False)
            await received(load)
            asked = time.monotonic()
            replica.program.signal(SIGTERM)
            await load.all_ended()
            gone = await ended(replica, seconds=60)
            deadline = asked + grace_seconds + drain_seconds
            assert gone <= deadline + 5
            return deadline, streams, whole

    with running_replica(
        room, an_order(max_num_seqs=STREAMS + 1, drain_seconds=drain_seconds, endpoint_grace_seconds=grace_seconds)
    ) as replica:
        deadline, streams, whole = asyncio.run(scenario(replica))
        assert replica.program.exit_status == ExitCode.OK, replica.said()
    assert {(stream.status, stream.end) for stream in streams} == {(200, End.ERROR)}
    assert {stream.error for stream in streams} == {streams[0].error}
    assert '"code": "replica_leaving"' in streams[0].error
    ends = [stream.ended - deadline for stream in streams if stream.ended is not None]
    assert max(ends) <= 1
    assert min(ends) >= -0.5
    assert (whole.status, whole.end) == (503, End.REFUSED)
    assert whole.ended is not None
    assert whole.ended <= deadline + 1


async def received(load: Clients) -> None:
    """Wait until vLLM has all requests that were begun before: one more goes through after them."""
    assert (await load.one(1)).end is End.DONE
