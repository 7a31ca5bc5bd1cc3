from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.contract import ExitCode, Phase, Verdict
from gptoss_runtime.server.cause import MAX_CHARACTERS, find_cause
from gptoss_runtime.server.drain import KILL_AFTER_SECONDS, DrainLimits, DrainSeen, DrainStep, next_step
from gptoss_runtime.server.verdict import Answer, Ending, Seen, agent_line, exit_code, judge, termination_message
from tests.runtime.fake_vllm import ENGINE_DEATH, ENGINE_FAILURE, USAGE_FAILURE


UP = Seen(running=True, was_ready=True, draining=False, answer=Answer.UP, silences=0)
LIMITS = DrainLimits(endpoint_grace_seconds=5, drain_seconds=120)
BUSY = DrainSeen(elapsed_seconds=0, was_ready=True, in_flight=2, since_terminate_seconds=None)


@pytest.mark.parametrize(
    ("seen", "phase", "ready", "live"),
    [
        (UP, Phase.READY, True, True),
        (replace(UP, answer=Answer.SILENT, silences=2), Phase.READY, True, True),
        (replace(UP, answer=Answer.SILENT, silences=3), Phase.NOT_READY, False, True),
        (replace(UP, answer=Answer.DOWN), Phase.NOT_READY, False, True),
        (replace(UP, was_ready=False, answer=Answer.DOWN), Phase.LOADING, False, True),
        (replace(UP, draining=True), Phase.DRAINING, False, True),
        (replace(UP, running=False), Phase.STOPPED, False, False),
        (replace(UP, running=False, draining=True), Phase.STOPPED, False, False),
    ],
)
def test_judges(seen: Seen, phase: Phase, *, ready: bool, live: bool) -> None:
    judgement = judge(seen)
    assert (judgement.phase, judgement.verdict.ready, judgement.verdict.live) == (phase, ready, live)


@pytest.mark.parametrize(
    ("asked", "was_ready", "status", "code"),
    [
        (True, True, 0, ExitCode.OK),
        (True, False, 1, ExitCode.OK),
        (True, True, -9, ExitCode.OK),
        (False, False, 1, ExitCode.START_FAILED),
        (False, False, 0, ExitCode.START_FAILED),
        (False, True, 0, ExitCode.ENGINE_DIED),
        (False, True, -11, ExitCode.ENGINE_DIED),
    ],
)
def test_exit_code_says_whether_we_were_asked_not_what_vllm_said(
    *, asked: bool, was_ready: bool, status: int, code: int
) -> None:
    ending = Ending(exit_status=status, asked=asked, was_ready=was_ready, cause="why")
    assert exit_code(ending) == code
    assert bool(termination_message(ending)) is not asked


def test_termination_message_names_cause_or_most_likely_cause() -> None:
    ending = Ending(exit_status=-9, asked=False, was_ready=False)
    assert termination_message(ending) == (
        "vLLM did not start (signal SIGKILL): most likely out of memory; raise spec.pod.resources.memory"
    )
    ending = Ending(exit_status=0, asked=False, was_ready=True, cause="EngineCore died unexpectedly")
    assert termination_message(ending) == (
        "the engine died while serving (exit status 0): EngineCore died unexpectedly"
    )


def test_agent_says_ready_or_drain() -> None:
    assert agent_line(Verdict(ready=True, live=True, reason=""), 128) == "up ready 100% maxconn:128\n"
    assert agent_line(Verdict(ready=False, live=True, reason=""), 128) == "drain\n"


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        (BUSY, DrainStep.WAIT),
        (replace(BUSY, in_flight=0), DrainStep.WAIT),
        (replace(BUSY, in_flight=0, elapsed_seconds=5), DrainStep.TERMINATE),
        (replace(BUSY, elapsed_seconds=124), DrainStep.WAIT),
        (replace(BUSY, in_flight=None, elapsed_seconds=124), DrainStep.WAIT),
        (replace(BUSY, elapsed_seconds=125), DrainStep.TERMINATE),
        (replace(BUSY, was_ready=False), DrainStep.TERMINATE),
        (replace(BUSY, since_terminate_seconds=19), DrainStep.WAIT),
        (replace(BUSY, since_terminate_seconds=20), DrainStep.KILL),
    ],
)
def test_drains(seen: DrainSeen, step: DrainStep) -> None:
    assert next_step(LIMITS, seen).step is step


@given(
    st.floats(0, 60),
    st.floats(0, 600),
    st.booleans(),
    st.lists(st.one_of(st.none(), st.integers(0, 100)), min_size=1, max_size=200),
    st.floats(0.1, 5),
)
def test_every_drain_ends_in_time_and_terminates_once(
    grace: float,
    drain: float,
    was_ready: bool,  # noqa: FBT001
    loads: list[int | None],
    tick: float,
) -> None:
    limits = DrainLimits(endpoint_grace_seconds=grace, drain_seconds=drain)
    bound = grace + drain + KILL_AFTER_SECONDS + 2 * tick
    now, terminated, index = 0.0, None, 0
    while True:
        seen = DrainSeen(
            elapsed_seconds=now,
            was_ready=was_ready,
            in_flight=loads[index % len(loads)],
            since_terminate_seconds=None if terminated is None else now - terminated,
        )
        decision = next_step(limits, seen)
        assert decision.reason
        assert now <= bound
        if decision.step is DrainStep.KILL:
            return
        if decision.step is DrainStep.TERMINATE:
            assert terminated is None
            assert seen.in_flight == 0 or not was_ready or now >= grace + drain
            terminated = now
        now, index = now + tick, index + 1


PYDANTIC = """\
(APIServer pid=1) pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
(APIServer pid=1)   Value error, User-specified max_model_len (999999) is greater than the derived maximum model \
length [type=value_error, input_value=ArgsKwargs(()), input_type=ArgsKwargs]
(APIServer pid=1)     For further information visit https://errors.pydantic.dev/2.12/v/value_error
"""


NO_MEMORY = "ValueError: No available memory for the cache blocks"
TOO_LONG = "ValueError: User-specified max_model_len (999999) is greater than the derived maximum model length"
LONGER = "Remedy: lower spec.engine.maxModelLen or raise spec.tensorParallel"
MORE_MEMORY = "Remedy: raise spec.tensorParallel or spec.engine.gpuMemoryUtilization"
ONE_REQUEST = "ERROR:    Exception in ASGI application\nTraceback (most recent call last):\nRuntimeError: one request\n"


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("", ""),
        ("INFO 11-22 07:04:41 [x.py:1] all is well\n", ""),
        (ENGINE_FAILURE, f"{NO_MEMORY}. {MORE_MEMORY}"),
        (USAGE_FAILURE, "unrecognized arguments: --frobnicate. Remedy: correct spec.engine.extraArgs"),
        (PYDANTIC, f"{TOO_LONG}. {LONGER}"),
        ("OSError: [Errno 5] Input/output error\nKeyboardInterrupt\n", "OSError: [Errno 5] Input/output error"),
        (ENGINE_DEATH, ENGINE_DEATH),
    ],
)
def test_finds_why_it_did_not_start(output: str, cause: str) -> None:
    assert find_cause(output.splitlines(), serving=False) == cause


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        (ENGINE_FAILURE + ONE_REQUEST, f"{NO_MEMORY}. {MORE_MEMORY}"),
        (ONE_REQUEST + ENGINE_DEATH + "\n" + ONE_REQUEST, ENGINE_DEATH),
        (ONE_REQUEST, "RuntimeError: one request"),
    ],
)
def test_finds_why_it_died_among_the_errors_of_requests(output: str, cause: str) -> None:
    assert find_cause(output.splitlines(), serving=True) == cause


@given(st.lists(st.text()), st.booleans())
def test_a_cause_is_short_and_in_one_line_whatever_the_output(lines: list[str], serving: bool) -> None:  # noqa: FBT001
    cause = find_cause([line for text in lines for line in text.splitlines()], serving=serving)
    assert len(cause) <= MAX_CHARACTERS + 200
    assert len(cause.splitlines()) <= 1
