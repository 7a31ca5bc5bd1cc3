"""What a rollout asks of a new replica, over a real vLLM: golden prompts, and no requests before it is let in."""

import http.client
import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from e2e.model import ANSWER_TEXT, Variant, ensure_variant
from e2e.shown import shown
from e2e.vllm.replica import HOST, MODEL_NAME, Replica, an_order, running_replica, started_replica
from e2e.vllm.room import Room
from gptoss_runtime.contract import Check, Counter, Phase, ReplicaState
from gptoss_runtime.orders import GoldenOrder


BUILT_IN = ("Harmony", "ToolCall")
HELLO = GoldenOrder(name="hello", prompt="Say hello.", contains=(ANSWER_TEXT.upper(),))
CAPITAL = GoldenOrder(name="capital", prompt="What is the capital of France?", contains=("Paris",))
PERSON = GoldenOrder(name="person", prompt="Who are you? Answer in JSON.", json_schema='{"type": "object"}')
HEAR_SECONDS = 5.0
"""From the file's change to what gateways hear, where the CPUs are busy; half a second otherwise."""
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def closed(request: pytest.FixtureRequest, room: Room) -> Iterator[Replica]:
    """A replica that was closed from the beginning, and has answered its golden prompts."""
    orders = an_order(built_in_prompts=BUILT_IN, golden_prompts=(HELLO,))
    with shown(request):
        running = started_replica(room, orders)
        replica = running.__enter__()
        replica.let_in("closed")
        replica.await_state(is_checked)
    yield replica
    running.__exit__(None, None, None)


def is_checked(state: ReplicaState) -> bool:
    return Check.GOLDEN_PROMPTS in state.checks and state.checks[Check.GOLDEN_PROMPTS].ok is not None


def test_a_good_model_answers_every_golden_prompt(closed: Replica) -> None:
    state = closed.state()
    check = state.checks[Check.GOLDEN_PROMPTS]
    assert check.ok, check.detail
    assert state.counters[Counter.GOLDEN_ASKED] >= 3
    assert state.counters[Counter.GOLDEN_WRONG] == 0
    # Neither prompts nor probes are clients' requests.
    assert state.counters[Counter.ANSWERS] == 0
    assert state.counters[Counter.FURTHER_TOKENS] > 0
    assert state.counters[Counter.FURTHER_TOKEN_SECONDS] > 0


def test_a_closed_replica_waits_until_it_is_let_in(closed: Replica) -> None:
    assert closed.state().phase is Phase.WAITING
    assert closed.get("/startupz")[0] == 200
    assert closed.get("/readyz")[0] == 503
    assert closed.agent() == "drain\n"
    for word, line in (("25", "up ready 25% maxconn:32\n"), ("open", "up ready 100% maxconn:32\n")):
        closed.let_in(word)
        hear(closed, line)
        assert closed.get("/readyz")[0] == 200
    closed.let_in("closed")
    closed.await_state(lambda state: state.phase is Phase.WAITING, seconds=HEAR_SECONDS)
    assert closed.agent() == "drain\n"


def hear(replica: Replica, line: str) -> None:
    """Wait until gateways hear this."""
    replica.await_state(lambda _: replica.agent() == line, seconds=HEAR_SECONDS)


def test_a_client_that_hangs_up_is_no_failed_answer(closed: Replica) -> None:
    before = closed.state().counters[Counter.ANSWERS]
    for stream in (True, False):
        # Whole, and with a client that does not wait for the end.
        ask_for(closed, tokens=8, stream=stream)
        ask_for(closed, tokens=2000, stream=stream, seconds=1.0)
    state = closed.await_state(lambda state: state.counters.get(Counter.ANSWERS) == before + 4, seconds=30)
    assert state.counters[Counter.ANSWERS_FAILED] == 0


def ask_for(replica: Replica, *, tokens: int, stream: bool, seconds: float | None = None) -> None:
    """Have a prompt completed, and hang up after `seconds`, which must not be enough."""
    connection = http.client.HTTPConnection(HOST, replica.openai_port, timeout=60)
    body = {"model": MODEL_NAME, "prompt": "Hi", "max_tokens": tokens, "min_tokens": tokens, "stream": stream}
    connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
    if seconds is None:
        answer = connection.getresponse()
        assert answer.status == http.client.OK
        answer.read()
    else:
        time.sleep(seconds)
    connection.close()


def test_an_answer_that_is_not_expected_is_told_and_the_replica_serves(room: Room) -> None:
    with running_replica(room, an_order(golden_prompts=(HELLO, CAPITAL, PERSON))) as replica:
        state = replica.await_state(is_checked)
        check = state.checks[Check.GOLDEN_PROMPTS]
        assert check.ok is False
        assert check.detail == (
            "2 of 3 golden prompts are not answered as they should be: "
            'the answer to capital does not contain "Paris"; the answer to person is not JSON'
        )
        assert state.phase is Phase.READY
        assert replica.get("/readyz")[0] == 200


def test_a_model_that_never_answers_comes_up_and_fails_its_prompts(room: Room) -> None:
    wrong = replace(room, model=ensure_variant(Variant.WRONG))
    with started_replica(wrong, an_order(built_in_prompts=BUILT_IN)) as replica:
        replica.let_in("closed")
        state = replica.await_state(is_checked)
        assert state.phase is Phase.WAITING
        detail = state.checks[Check.GOLDEN_PROMPTS].detail
        assert "the answer to Harmony has no content" in detail
        assert "the answer to ToolCall calls no tool" in detail
