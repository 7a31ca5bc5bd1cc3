"""What golden prompts ask, whether answers are right, and what follows from them."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.contract import CheckResult
from gptoss_runtime.orders import GoldenOrder, ServerOrders
from gptoss_runtime.server.golden import WrongAnswerError
from gptoss_runtime.server.golden_prompts import Question, check_order, make_questions
from gptoss_runtime.server.golden_rounds import AGAIN_SECONDS, Answered, Golden, after_round, round_due
from gptoss_runtime.server.watchdog import Outcome
from tests.runtime.harness import an_order


PERSON = json.dumps({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}})
PARIS = GoldenOrder(name="capital", prompt="What is the capital of France?", contains=("Paris", "france"))
BUILT_IN = ("Harmony", "ToolCall")


def a_message(**message: object) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", **message}}]}


def a_call(name: str = "get_temperature", arguments: object = '{"city": "Paris"}') -> dict[str, Any]:
    return a_message(
        content=None, tool_calls=[{"type": "function", "function": {"name": name, "arguments": arguments}}]
    )


def asked(orders: ServerOrders) -> dict[str, Question]:
    return {question.name: question for question in make_questions(orders)}


def test_asks_the_built_in_prompts_and_the_orders_own() -> None:
    orders = an_order("/m", built_in_prompts=BUILT_IN, golden_prompts=(PARIS,))
    questions = asked(orders)
    assert list(questions) == ["Harmony", "ToolCall", "capital"]
    for question in questions.values():
        assert question.request["model"] == orders.served_names[0]
        assert question.request["temperature"] == 0
        assert json.dumps(question.request)
    assert questions["capital"].request["messages"] == [{"role": "user", "content": PARIS.prompt}]
    assert questions["capital"].request["max_tokens"] == PARIS.max_tokens
    assert make_questions(an_order("/m")) == ()


def test_accepts_what_is_right() -> None:
    questions = asked(an_order("/m", built_in_prompts=BUILT_IN, golden_prompts=(PARIS,)))
    questions["Harmony"].check(a_message(content="391", reasoning="17 times 23 is 391."))
    questions["Harmony"].check(a_message(content="391", reasoning_content="17 times 23 is 391."))
    questions["ToolCall"].check(a_call())
    questions["capital"].check(a_message(content="PARIS is the capital of France."))


@pytest.mark.parametrize(
    ("name", "document", "words"),
    [
        ("Harmony", {}, "has no message"),
        ("Harmony", {"choices": [{"message": "text"}]}, "has no message"),
        ("Harmony", a_message(content="391"), "has no reasoning"),
        ("Harmony", a_message(content=" ", reasoning="hm"), "has no content after its reasoning"),
        ("Harmony", a_message(content=None, reasoning="hm"), "has no content after its reasoning"),
        ("ToolCall", a_message(content="It is warm."), "calls no tool"),
        ("ToolCall", a_message(tool_calls=[]), "calls no tool"),
        ("ToolCall", a_call(name="get_weather"), "calls a tool that was not offered"),
        ("ToolCall", a_message(tool_calls=["call"]), "calls a tool that was not offered"),
        ("ToolCall", a_call(arguments="city=Paris"), "with arguments that are not JSON"),
        ("ToolCall", a_call(arguments=None), "with arguments that are not JSON"),
        ("ToolCall", a_call(arguments='["Paris"]'), "without its argument city"),
        ("ToolCall", a_call(arguments='{"town": "Paris"}'), "without its argument city"),
        ("capital", a_message(content=None, reasoning="Paris"), "has no content"),
        ("capital", a_message(content="Paris"), 'does not contain "france"'),
    ],
)
def test_refuses_what_is_wrong(name: str, document: dict[str, Any], words: str) -> None:
    questions = asked(an_order("/m", built_in_prompts=BUILT_IN, golden_prompts=(PARIS,)))
    with pytest.raises(WrongAnswerError, match=words):
        questions[name].check(document)


def check_json(content: str, schema: str = PERSON) -> None:
    check_order(GoldenOrder(name="person", prompt="Who?", json_schema=schema), a_message(content=content))


@pytest.mark.parametrize("content", ['{"name": "Ada"}', '```json\n{"name": "Ada"}\n```', '\n```\n{"name":"Ada"}```\n'])
def test_accepts_json_of_the_schema_with_or_without_fences(content: str) -> None:
    check_json(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("Ada", "is not JSON"),
        ('{"name": NaN}', "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('Here: ```json\n{"name": "Ada"}\n```', "is not JSON"),
        ("{}", r"does not satisfy the schema: required at \$$"),
        ('{"name": 7}', r"does not satisfy the schema: type at \$\.name"),
    ],
)
def test_refuses_json_of_another_schema(content: str, words: str) -> None:
    with pytest.raises(WrongAnswerError, match=words):
        check_json(content)


@pytest.mark.parametrize(
    "schema",
    [
        "{",
        '{"type": "person"}',
        '{"$ref": "https://example.invalid/person.json"}',
        '{"$ref": "#/$defs/absent"}',
        '{"$ref": "#"}',
        '{"properties": {"name": {"pattern": "("}}}',
        "7",
    ],
)
def test_a_bad_schema_is_the_prompts_fault(schema: str) -> None:
    with pytest.raises(WrongAnswerError, match="the prompt's own schema is bad"):
        check_json('{"name": "Ada"}', schema)


RIGHT = (Answered(name="a", outcome=Outcome.RIGHT), Answered(name="b", outcome=Outcome.RIGHT))
WRONG = (RIGHT[0], Answered(name="b", outcome=Outcome.WRONG, reason="has no content"))
SILENT = (Answered(name="a", outcome=Outcome.UNANSWERED, reason="did not come in 60 s"),)
BUSY = (RIGHT[0], Answered(name="b", outcome=Outcome.BUSY))
GOOD = CheckResult(ok=True, detail="2 of 2 golden prompts are answered as they should be")
BAD = CheckResult(
    ok=False, detail="1 of 2 golden prompts are not answered as they should be: the answer to b has no content"
)
NEW = Golden(prompts=2)


def after(*rounds: tuple[Answered, ...], golden: Golden = NEW) -> Golden:
    for number, answers in enumerate(rounds):
        golden = after_round(golden, answers, at=float(number))
    return golden


def test_the_first_round_decides() -> None:
    assert NEW.check.ok is None
    assert after(RIGHT).check == GOOD
    assert after(WRONG).check == BAD
    assert after(SILENT).check.ok is False
    assert "the answer to a did not come in 60 s" in after(SILENT).check.detail


def test_later_two_rounds_in_a_row_must_fail_and_a_right_one_makes_good() -> None:
    assert after(RIGHT, WRONG).check == GOOD
    assert after(RIGHT, WRONG, RIGHT, WRONG).check == GOOD
    assert after(RIGHT, WRONG, SILENT).check.ok is False
    assert after(RIGHT, WRONG, WRONG, RIGHT).check == GOOD
    assert after(WRONG, WRONG, RIGHT, WRONG).check == GOOD


def test_a_full_queue_tells_nothing() -> None:
    assert after(BUSY).check == NEW.check
    assert after(BUSY, RIGHT).check == GOOD
    assert after(RIGHT, WRONG, BUSY, WRONG).check == BAD
    assert after(RIGHT, BUSY).check == GOOD


def test_counts_what_was_asked() -> None:
    golden = after(RIGHT, WRONG, BUSY, SILENT)
    assert (golden.asked, golden.wrong) == (2 + 2 + 1 + 1, 2)


@given(st.lists(st.sampled_from([RIGHT, WRONG, SILENT, BUSY]), max_size=12))
def test_the_check_follows_the_last_rounds_whatever_was_before(rounds: list[tuple[Answered, ...]]) -> None:
    golden = after(*rounds)
    told = [answers for answers in rounds if answers != BUSY]
    assert golden.asked >= golden.wrong
    if told and told[-1] == RIGHT:
        assert golden.check == GOOD
    elif told and RIGHT not in told[-2:]:
        assert golden.check.ok is False
    assert (golden.check.ok is None) is not bool(told)


def test_asks_once_and_goes_on_while_a_rollout_watches() -> None:
    assert round_due(NEW, share=100, at=0.0)
    assert not round_due(Golden(prompts=0), share=0, at=0.0)
    once = after(RIGHT)
    assert not round_due(once, share=100, at=1e9)
    for share in (0, 25, 99):
        assert not round_due(once, share=share, at=AGAIN_SECONDS - 1)
        assert round_due(once, share=share, at=AGAIN_SECONDS)
    # Nothing is known yet.
    assert round_due(after(BUSY), share=100, at=AGAIN_SECONDS)


def test_a_complaint_is_short() -> None:
    many = tuple(replace(WRONG[1], name="n" * 63, reason="r" * 300) for _ in range(18))
    assert len(after_round(Golden(prompts=18), many, at=0.0).check.detail) < 700
