"""One replica from its start to its end: how it came up, what it knows of itself, how it leaves."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from e2e.shown import shown
from e2e.vllm.faults import leave
from e2e.vllm.load import End
from e2e.vllm.replica import Replica, an_order, running_replica
from e2e.vllm.room import Room
from gptoss_runtime.contract import Check, ExitCode, Gauge, Phase


STREAMS = 32
TOKENS = 60
"""Of streams that can end within a minute, also where the CPUs are busy."""
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def replica(request: pytest.FixtureRequest, room: Room) -> Iterator[Replica]:
    """A replica that has just become ready. The last test ends it."""
    with shown(request):
        running = running_replica(room, an_order(drain_seconds=60))
        replica = running.__enter__()
    yield replica
    running.__exit__(None, None, None)


def test_four_checks_are_well(replica: Replica) -> None:
    status, text = replica.get("/healthz/deep")
    checks = json.loads(text)["checks"]
    assert status == 200, text
    # Its orders have no golden prompts.
    asked = set(Check) - {Check.GOLDEN_PROMPTS}
    assert {name: check["ok"] for name, check in checks.items()} == dict.fromkeys(map(str, asked), True)
    assert set(replica.state().checks) == set(checks)


def test_the_phases_of_the_start_add_up_to_it(replica: Replica) -> None:
    state = replica.state()
    assert state.phase is Phase.READY
    # The weights were there; nothing is compiled for a CPU.
    assert set(state.startup) >= {Phase.STARTING, Phase.LOADING, Phase.WARMING}
    assert all(seconds > 0 for seconds in state.startup.values())
    assert sum(state.startup.values()) == pytest.approx(state.gauges[Gauge.LOAD_SECONDS], abs=1)


def test_the_cache_has_the_room_that_was_planned(replica: Replica) -> None:
    gauges = replica.state().gauges
    assert gauges[Gauge.KV_TOKENS] == gauges[Gauge.PLANNED_KV_TOKENS]
    assert f"KV cache size: {gauges[Gauge.KV_TOKENS]:,.0f} tokens" in replica.said()


def test_32_streams_end_by_themselves_within_a_drain_of_60_seconds(replica: Replica) -> None:
    left = asyncio.run(leave(replica, streams=STREAMS, tokens=TOKENS))
    assert left.ends == {End.DONE: STREAMS}, left.errors
    assert left.out_seconds <= 1
    assert replica.program.exit_status == ExitCode.OK, replica.said()
    assert replica.message() == ""
