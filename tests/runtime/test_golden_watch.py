"""gptoss-server asks golden prompts over a fake vLLM, which answers well or not."""

import asyncio
from pathlib import Path

import pytest

from gptoss_runtime.contract import Check, CheckResult, Counter, Phase, ReplicaState
from gptoss_runtime.engine_options import EngineOptions, LoadFormat
from gptoss_runtime.orders import GoldenOrder, ServerOrders
from tests.runtime.harness import PATIENCE_SECONDS, Server, a_model, an_order, running, scenario


HELLO = GoldenOrder(name="hello", prompt="Say hello.", contains=("hello",))
WELL = CheckResult(ok=True, detail="3 of 3 golden prompts are answered as they should be")
OFTEN = {"GPTOSS_AGAIN_SECONDS": "1"}


def gated(model: str, **changes: object) -> ServerOrders:
    prompts = {"built_in_prompts": ("Harmony", "ToolCall"), "golden_prompts": (HELLO,)}
    return an_order(model, **{**prompts, **changes})


async def checked(server: Server, *, ok: bool) -> ReplicaState:
    """Wait until the answers are known to be right, or not."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (state := await server.state()).checks[Check.GOLDEN_PROMPTS].ok is not ok:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return state


@scenario
async def test_prompts_are_asked_once_and_are_no_clients_requests(tmp_path: Path) -> None:
    async with running(gated(a_model(tmp_path)), tmp_path, **OFTEN) as server:
        await server.phase(Phase.READY)
        state = await checked(server, ok=True)
        assert state.checks[Check.GOLDEN_PROMPTS] == WELL
        assert (state.counters[Counter.GOLDEN_ASKED], state.counters[Counter.GOLDEN_WRONG]) == (3, 0)
        assert (state.counters[Counter.ANSWERS], state.counters[Counter.ANSWERS_FAILED]) == (0, 0)
        stream = await server.start_stream()
        await server.order("finish")
        await stream.text()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (state := await server.state()).counters[Counter.ANSWERS] < 1:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert state.counters[Counter.ANSWERS_FAILED] == 0
        _, text = await server.get("/metrics")
    assert "gptoss_server_golden_prompts_asked_total 3.0" in text
    assert "gptoss_server_golden_prompts_wrong_total 0.0" in text
    assert "gptoss_server_answers_total 1.0" in text
    assert "gptoss_server_answers_failed_total 0.0" in text
    assert 'gptoss_server_tokens_total{direction="prompt",tenant="anonymous"} 7.0' in text


@pytest.mark.parametrize(
    ("lie", "complaint"),
    [("harmony", "the answer to Harmony has no reasoning"), ("tool", "the answer to ToolCall calls no tool")],
)
@scenario
async def test_a_wrong_answer_is_told_and_does_not_keep_the_replica_out(
    tmp_path: Path, lie: str, complaint: str
) -> None:
    async with running(gated(a_model(tmp_path)), tmp_path, FAKE_LIE=lie) as server:
        await server.phase(Phase.READY)
        state = await checked(server, ok=False)
        detail = f"1 of 3 golden prompts are not answered as they should be: {complaint}"
        assert state.checks[Check.GOLDEN_PROMPTS] == CheckResult(ok=False, detail=detail)
        assert state.counters[Counter.GOLDEN_WRONG] == 1
        assert state.phase is Phase.READY
        assert (await server.get("/readyz"))[0] == 200
        assert (await server.get("/healthz/deep"))[0] == 503


@scenario
async def test_a_closed_replica_is_asked_again_and_again(tmp_path: Path) -> None:
    (tmp_path / "traffic").write_text("closed")
    async with running(gated(a_model(tmp_path)), tmp_path, **OFTEN) as server:
        await server.phase(Phase.WAITING)
        await checked(server, ok=True)
        await server.order("lie?how=tool")
        await checked(server, ok=False)
        assert (await server.state()).phase is Phase.WAITING
        await server.order("lie?how=")
        await checked(server, ok=True)


@scenario
async def test_a_full_queue_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "traffic").write_text("50")
    async with running(gated(a_model(tmp_path)), tmp_path, **OFTEN) as server:
        await server.phase(Phase.READY)
        await checked(server, ok=True)
        await server.order("lie?how=busy")
        await server.said("Golden prompt Harmony: Busy")
        await server.said("A probe of the engine")
        state = await server.state()
        assert state.checks[Check.GOLDEN_PROMPTS] == WELL
        assert state.counters[Counter.GOLDEN_WRONG] == 0
        assert state.phase is Phase.READY


@pytest.mark.parametrize("lie", ["token", "nan"])
@scenario
async def test_a_canary_that_computes_wrongly_is_found_out_under_load(tmp_path: Path, lie: str) -> None:
    (tmp_path / "traffic").write_text("25")
    # An idle engine would be probed after a minute, one with requests never.
    async with running(an_order(a_model(tmp_path)), tmp_path, **OFTEN) as server:
        await server.phase(Phase.READY)
        stream = await server.start_stream()
        await server.order(f"lie?how={lie}")
        await server.said(f"{Phase.NOT_READY}: its answers are wrong")
        assert await server.agent() == "drain\n"
        assert (await server.state()).checks[Check.PARAMETERS_ACCESSIBLE].ok is False
        server.output.clear()
        await server.order("lie?how=")
        await server.phase(Phase.READY)
        await server.order("finish")
        await stream.text()


@scenario
async def test_a_canary_that_hangs_while_idle_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "traffic").write_text("25")
    async with running(an_order(a_model(tmp_path)), tmp_path, **OFTEN) as server:
        await server.phase(Phase.READY)
        await server.order("freeze")
        await server.said(f"{Phase.NOT_READY}: its engine does not answer a probe while it is idle")


@pytest.mark.parametrize(
    "changes",
    [
        {"built_in_prompts": (), "golden_prompts": ()},
        # Made-up weights hold no conversation.
        {"engine": EngineOptions(load_format=LoadFormat.DUMMY)},
    ],
)
@scenario
async def test_without_prompts_there_is_no_such_check(tmp_path: Path, changes: dict[str, object]) -> None:
    async with running(gated(a_model(tmp_path), **changes), tmp_path) as server:
        await server.phase(Phase.READY)
        state = await server.state()
        assert Check.GOLDEN_PROMPTS not in state.checks
        assert Counter.GOLDEN_ASKED not in state.counters


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"built_in_prompts": ("Harmonie",)}, "there is no built-in prompt 'Harmonie': set spec.rollout.gates.builtIn"),
        ({"golden_prompts": (GoldenOrder(name="empty", prompt=""),)}, "the golden prompt 'empty' makes no sense"),
    ],
)
@scenario
async def test_prompts_that_cannot_be_asked_are_told_in_words(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    async with running(gated(a_model(tmp_path), **changes), tmp_path) as server:
        assert await server.ended() == 64
        assert words in server.message()
