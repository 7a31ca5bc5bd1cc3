"""Whether a probe's answer is what it was at the start."""

import math
from typing import Any

import pytest

from gptoss_runtime.server.golden import (
    TOLERANCE,
    Golden,
    WrongAnswerError,
    chat_request,
    check_chat,
    compare,
    completion_request,
    read_completion,
)


def an_answer(*places: tuple[str, float], others: dict[str, float] | None = None) -> dict[str, Any]:
    """Return a completion as vLLM writes it, of tokens and the logarithms of their probabilities."""
    return {
        "choices": [
            {
                "logprobs": {
                    "tokens": [token for token, _ in places],
                    "token_logprobs": [value for _, value in places],
                    "top_logprobs": [{token: value, **(others or {})} for token, value in places],
                }
            }
        ]
    }


GOLDEN = read_completion(an_answer(("a", -0.2), ("b", -0.9), others={"near": -1.0, "far": -5.0}))


def test_reads_tokens_and_probabilities() -> None:
    answer = read_completion(an_answer(("a", -0.2), ("b", -0.9), others={"near": -1.0, "far": -5.0}))
    assert answer == Golden(
        tokens=("a", "b"),
        logprobs=({"a": -0.2, "near": -1.0, "far": -5.0}, {"b": -0.9, "near": -1.0, "far": -5.0}),
    )


@pytest.mark.parametrize(
    "answer",
    [
        an_answer(("a", -0.2), ("b", -0.9)),
        # Arithmetic in another order.
        an_answer(("a", -0.25), ("b", -0.9 - TOLERANCE * 0.9)),
        # As good as equal at the start; what comes after another token is another text.
        an_answer(("a", -0.2), ("near", -0.95)),
    ],
)
def test_accepts_what_arithmetic_explains(answer: dict[str, Any]) -> None:
    compare(GOLDEN, read_completion(answer))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (an_answer(("c", -0.2), ("b", -0.9)), "token 1 of the probe's answer is not the one of the start"),
        (an_answer(("a", -0.2), ("far", -0.9)), "token 2 of the probe's answer"),
        (an_answer(("a", -0.2), ("b", -0.9 - TOLERANCE * 1.1)), "the probability of token 2"),
        (an_answer(("a", -0.2)), "another length"),
        (an_answer(("a", math.nan), ("b", -0.9)), "are no numbers"),
        (an_answer(("a", -math.inf), ("b", -0.9)), "are no numbers"),
        (an_answer(("a", -9999.0), ("b", -0.9)), "are no numbers"),
        (an_answer(), "has no token"),
        ({}, "no tokens with probabilities"),
        ({"choices": []}, "no tokens with probabilities"),
        ({"choices": [{"logprobs": None}]}, "no tokens with probabilities"),
        ({"choices": [{"logprobs": {"tokens": ["a"], "token_logprobs": [None], "top_logprobs": [None]}}]}, "no tokens"),
    ],
)
def test_refuses_what_only_damage_explains(answer: dict[str, Any], words: str) -> None:
    with pytest.raises(WrongAnswerError, match=words):
        compare(GOLDEN, read_completion(answer))


@pytest.mark.parametrize(
    "message", [{"content": "Hello."}, {"content": None, "reasoning": "The user"}, {"reasoning_content": "We"}]
)
def test_a_chat_may_be_cut_in_its_reasoning(message: dict[str, Any]) -> None:
    check_chat({"choices": [{"message": message}]})


@pytest.mark.parametrize("document", [{}, {"choices": []}, {"choices": [{"message": {"content": " "}}]}])
def test_a_chat_without_words_is_wrong(document: dict[str, Any]) -> None:
    with pytest.raises(WrongAnswerError, match="the answer to a chat has"):
        check_chat(document)


def test_asks_for_the_served_name_and_always_the_same() -> None:
    for request in (completion_request("m"), chat_request("m")):
        assert request["model"] == "m"
        assert request["temperature"] == 0
    assert all(0 <= token < 199_998 for token in completion_request("m")["prompt"])
    assert len(completion_request("m")["prompt"]) < 16
