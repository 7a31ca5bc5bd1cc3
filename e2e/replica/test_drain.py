"""Leaving with more live requests than there is time for: each that is cut hears of it."""

import asyncio

import pytest

from e2e.vllm.faults import ENDLESS_TOKENS, leave
from e2e.vllm.load import End
from e2e.vllm.replica import an_order, running_replica
from e2e.vllm.room import Room
from gptoss_runtime.contract import ExitCode


STREAMS = 32
pytestmark = pytest.mark.timeout(300)


def test_streams_that_a_drain_of_2_seconds_cuts_end_with_an_error(room: Room) -> None:
    drain_seconds, grace_seconds = 2, 1
    deadline = drain_seconds + grace_seconds
    orders = an_order(max_num_seqs=STREAMS + 2, drain_seconds=drain_seconds, endpoint_grace_seconds=grace_seconds)
    with running_replica(room, orders) as replica:
        left = asyncio.run(leave(replica, streams=STREAMS, tokens=ENDLESS_TOKENS, whole=True))
        assert left.ends == {End.ERROR: STREAMS}
        assert len(left.errors) == 1
        assert '"code": "replica_leaving"' in next(iter(left.errors))
        assert left.ended_seconds[0] >= deadline - 0.5
        assert left.ended_seconds[-1] <= deadline + 1
        assert left.gone_seconds <= deadline + 5
        assert left.whole is not None
        assert (left.whole.status, left.whole.end) == (503, End.REFUSED)
        assert left.whole_seconds is not None
        assert left.whole_seconds <= deadline + 1
        assert replica.program.exit_status == ExitCode.OK, replica.said()
