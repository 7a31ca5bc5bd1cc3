"""vLLM's engine dies, or hangs: the replica takes itself out, says why, and ends if that does not heal it."""

import asyncio
from collections.abc import Iterator

import pytest

from e2e.shown import shown
from e2e.vllm.faults import kill_engine, stop_engine, stop_engine_for_good
from e2e.vllm.load import End
from e2e.vllm.replica import Replica, an_order, running_replica
from e2e.vllm.room import Room
from gptoss_runtime.contract import ExitCode, Gauge, Phase


STREAMS = 8
TOKENS = 400
STALL_SECONDS, PROBE_SECONDS, RESTART_SECONDS = 5, 5, 25
pytestmark = pytest.mark.timeout(300)


def test_a_killed_engine_is_out_within_a_second_and_ends_the_replica(room: Room) -> None:
    with running_replica(room, an_order()) as replica:
        killed = asyncio.run(kill_engine(replica, streams=STREAMS))
        assert killed.out_seconds <= 1
        assert killed.ends == {End.ERROR: STREAMS}
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
    stopped = asyncio.run(stop_engine(stalling, streams=0))
    assert stopped.out_seconds <= PROBE_SECONDS + 12
    assert stopped.state.phase is Phase.NOT_READY
    assert stopped.state.verdict.live
    assert "probe" in stopped.state.verdict.reason


def test_an_engine_that_stops_under_load_is_out_after_the_window_and_back_when_it_goes_on(stalling: Replica) -> None:
    stopped = asyncio.run(stop_engine(stalling, streams=STREAMS, tokens=TOKENS))
    assert STALL_SECONDS - 1 <= stopped.out_seconds <= STALL_SECONDS + 2
    assert stopped.state.gauges[Gauge.STALLED_SECONDS] >= STALL_SECONDS - 1
    # What the clients waited for came.
    assert stopped.ends == {End.DONE: STREAMS}


def test_an_engine_that_stays_stopped_ends_the_replica_with_the_reason(stalling: Replica) -> None:
    gone_seconds = asyncio.run(stop_engine_for_good(stalling, streams=STREAMS))
    assert RESTART_SECONDS - 1 <= gone_seconds <= RESTART_SECONDS + 10
    assert stalling.program.exit_status == ExitCode.ENGINE_DIED, stalling.said()
    assert "no engine step for" in stalling.message()
