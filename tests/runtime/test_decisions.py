from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.contract import START_PHASES, ExitCode, Notice, NoticeKind, Phase, Verdict
from gptoss_runtime.server.cause import MAX_CHARACTERS, find_cause
from gptoss_runtime.server.verdict import (
    Ending,
    Judgement,
    Seen,
    agent_line,
    exit_code,
    judge,
    leaving_words,
    termination_message,
)
from gptoss_runtime.server.watchdog import Finding
from tests.runtime.fake_vllm import ENGINE_DEATH, ENGINE_FAILURE, USAGE_FAILURE


UP = Seen(running=True, was_ready=True, start_phase=Phase.WARMING)
HUNG = Finding(fault="its engine makes no progress")
DEAD = Finding(fault="its engine makes no progress", restart="no engine step for 120 s with 2 requests")


@pytest.mark.parametrize(
    ("seen", "phase", "ready", "live", "reason"),
    [
        (UP, Phase.READY, True, True, "vLLM is up"),
        (replace(UP, finding=HUNG), Phase.NOT_READY, False, True, HUNG.fault),
        (replace(UP, finding=DEAD), Phase.NOT_READY, False, False, DEAD.restart),
        (replace(UP, gpu_fault="H100: XID 79"), Phase.NOT_READY, False, True, "H100: XID 79"),
        (replace(UP, leaving="asked to stop"), Phase.DRAINING, False, True, "asked to stop"),
        (replace(UP, leaving="asked to stop", finding=DEAD), Phase.DRAINING, False, True, "asked to stop"),
        (replace(UP, running=False), Phase.STOPPED, False, False, "vLLM's process has ended"),
        (replace(UP, running=False, leaving="asked"), Phase.STOPPED, False, False, "vLLM's process has ended"),
    ],
)
def test_judges(seen: Seen, phase: Phase, reason: str, *, ready: bool, live: bool) -> None:
    assert judge(seen) == Judgement(phase=phase, verdict=Verdict(ready=ready, live=live, reason=reason))


@pytest.mark.parametrize("phase", START_PHASES)
def test_judges_a_start(phase: Phase) -> None:
    starting = Seen(running=True, was_ready=False, start_phase=phase, finding=DEAD)
    judgement = judge(starting)
    assert (judgement.phase, judgement.verdict.ready, judgement.verdict.live) == (phase, False, True)
    faulty = judge(replace(starting, start_fault="the answer to a chat has no message"))
    assert faulty.verdict.reason == "the answer to a chat has no message"


@pytest.mark.parametrize(
    ("asked", "notice", "words"),
    [
        (True, None, "asked to stop; requests are finishing"),
        (False, Notice(kind=NoticeKind.TERMINATION, source="AWS"), "its machine will be taken away (AWS)"),
        (False, Notice(kind=NoticeKind.MAINTENANCE, source="GCP"), "its machine will be stopped for maintenance (GCP)"),
        (True, Notice(kind=NoticeKind.MAINTENANCE, source="GCP"), "asked to stop"),
        (False, None, "its machine stays after all"),
    ],
)
def test_says_why_it_leaves(*, asked: bool, notice: Notice | None, words: str) -> None:
    assert leaving_words(asked=asked, notice=notice).startswith(words)


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
    ending = Ending(exit_status=-9, asked=False, was_ready=True, killed_for="no engine step for 120 s", cause="x")
    assert termination_message(ending) == (
        "the engine died while serving (ended by the server): no engine step for 120 s"
    )
    ending = Ending(exit_status=1, asked=False, was_ready=False, fetching=True, cause="no space; give more")
    assert termination_message(ending) == "the weights were not fetched (exit status 1): no space; give more"
    ending = Ending(exit_status=0, asked=False, was_ready=True, cause="EngineCore died unexpectedly")
    assert termination_message(ending) == (
        "the engine died while serving (exit status 0): EngineCore died unexpectedly"
    )


def test_agent_says_ready_or_drain() -> None:
    assert agent_line(Verdict(ready=True, live=True, reason=""), 128) == "up ready 100% maxconn:128\n"
    assert agent_line(Verdict(ready=False, live=True, reason=""), 128) == "drain\n"


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
    ("cause", "remedy"),
    [
        (
            "ValueError: Unknown vLLM environment variable detected: VLLM_MXFP4_USE_MARLIN",
            "remove it from spec.pod.env, or from the image, and set spec.engine.moeBackend to marlin",
        ),
        (
            "ValueError: Unknown vLLM environment variable detected: VLLM_NO_SUCH",
            "remove it from spec.pod.env, or from the image",
        ),
        (
            "ValueError: Mxfp4 MoE backend 'marlin' does not support the deployment configuration",
            "leave out spec.engine.moeBackend, so that vLLM takes one that fits this GPU",
        ),
        (
            "NotImplementedError: FP8 KV cache on CPU requires x86 with AVX-512 or AMX",
            "leave out spec.engine.kvCacheDtype, or choose a GPU that computes in 8 bits",
        ),
        (
            "ValueError: Unexpected extra config keys for load format auto: {'x'}",
            "correct spec.engine.load.options",
        ),
        (
            "ImportError: Please install vllm[runai] for runai support",
            "choose another spec.engine.load.format, or an image that has this one",
        ),
    ],
)
def test_what_an_option_did_is_told_with_its_field(cause: str, remedy: str) -> None:
    assert find_cause([cause], serving=False) == f"{cause}. Remedy: {remedy}"


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
