"""What vLLM would ignore, or fail at late, ends the start with a reason and a remedy."""

import pytest

from e2e.vllm.replica import an_order, started_replica
from e2e.vllm.room import Room
from gptoss_runtime.contract import ExitCode


START_SECONDS = 120.0
pytestmark = pytest.mark.timeout(180)


def test_an_unknown_variable_of_vllm_is_refused_by_name_with_a_remedy(room: Room) -> None:
    with started_replica(room, an_order(), VLLM_MXFP4_USE_MARLIN="1") as replica:
        assert replica.program.wait(START_SECONDS) in {ExitCode.BAD_ORDERS, ExitCode.START_FAILED}
        assert "VLLM_MXFP4_USE_MARLIN" in replica.message()
        assert "spec.engine.moeBackend" in replica.message()
