"""How far a start has come."""

import pytest

from gptoss_runtime.contract import Phase
from gptoss_runtime.server.phases import StartClock, phase_of_line


@pytest.mark.parametrize(
    ("line", "phase"),
    [
        ("(APIServer pid=1) INFO 11-22 23:38:35 [model.py:2152] Using max model len 4096", None),
        ("(APIServer pid=1) WARNING 11-22 [vllm.py:1703] Enforce eager set, disabling torch.compile, CUDAGraphs", None),
        ("(EngineCore pid=8) INFO 11-22 23:39:08 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with", None),
        ("(Worker_TP1 pid=9) INFO 11-22 [cpu_model_runner.py:68] Starting to load model /models/m...", Phase.LOADING),
        ("(EngineCore pid=8) INFO [gpu_model_runner.py:5039] Starting to load model /models/m...", Phase.LOADING),
        ("(Worker_TP0 pid=9) INFO 11-22 [default_loader.py:501] Loading weights took 0.08 seconds", None),
        ("INFO [gpu_model_runner.py:5149] Model loading took 65.97 GiB memory and 31.2 seconds", Phase.COMPILING),
        ("INFO [cpu_model_runner.py:87] Warming up model for the compilation...", Phase.COMPILING),
        ("INFO [kv_cache_utils.py:2327] CPU KV cache size: 4,129,776 tokens, Maximum", Phase.COMPILING),
        ("INFO [kv_cache_utils.py:2327] GPU KV cache size: 4,129,776 tokens, Maximum", Phase.COMPILING),
        ("INFO [gpu_model_runner.py:6581] Graph capturing finished in 21 secs, took 0.80 GiB", Phase.COMPILING),
        ("", None),
    ],
)
def test_reads_the_phase_from_vllms_lines(line: str, phase: Phase | None) -> None:
    assert phase_of_line(line) is phase


def test_a_phase_never_goes_back_and_one_that_is_not_needed_is_passed_over() -> None:
    clock = StartClock(10.0)
    assert clock.phase is Phase.STARTING
    assert clock.enter(Phase.LOADING, 15.0)
    assert not clock.enter(Phase.FETCHING, 16.0)
    assert not clock.enter(Phase.LOADING, 16.0)
    assert clock.enter(Phase.WARMING, 25.0)
    assert not clock.enter(Phase.COMPILING, 26.0)
    assert clock.seconds(27.0) == {"Starting": 5.0, "Loading": 10.0, "Warming": 2.0}


def test_the_phases_add_up_to_the_start_and_stay_so() -> None:
    clock = StartClock(0.0)
    for at, phase in ((1.0, Phase.FETCHING), (60.0, Phase.LOADING), (90.0, Phase.COMPILING), (120.0, Phase.WARMING)):
        clock.enter(phase, at)
    clock.finish(121.5)
    clock.finish(200.0)
    assert not clock.enter(Phase.WARMING, 300.0)
    assert clock.phase is Phase.WARMING
    assert sum(clock.seconds(400.0).values()) == 121.5
