"""The probe: what is asked, and whether the answer is what it was at the start. Pure.

Nothing tells directly whether a model's parameters are still intact. But the same tokens in give the same probabilities
out, as long as they are, and a GPU that computes wrongly or weights that were damaged show in them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


PROMPT_TOKENS = (1, 2, 3, 5, 8, 13, 21, 34)
"""Any tokens of gpt-oss's vocabulary do. They are fewer than a block of the cache, so that none is ever cached."""
ANSWER_TOKENS = 4
ALTERNATIVES = 5
"""Tokens whose probability is asked for at each place."""
TOLERANCE = 0.5
"""In nats: how far the logarithm of a probability may move, which is a factor of 1.6. Other kernels for another batch
size move it by some hundredths; damaged parameters move it by whole nats. Two tokens that were nearer to each other
than this may change places."""
CHAT_TOKENS = 64

_IMPOSSIBLE = -9999.0
"""What vLLM says for a probability of zero."""


class BuiltIn(StrEnum):
    """Golden prompts of the server's own, as the orders call them. See `golden_prompts`."""

    HARMONY = "Harmony"
    """An answer with reasoning before its content."""
    TOOL_CALL = "ToolCall"
    """A call of the tool that is offered."""


class WrongAnswerError(ValueError):
    """An answer to a probe is not what it should be; the message says in what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """An answer to the probe."""

    tokens: tuple[str, ...]
    logprobs: tuple[Mapping[str, float], ...]
    """At each place, the logarithm of the probability of the token and of its alternatives."""


def completion_request(model: str) -> dict[str, Any]:
    """Return the body of the probe's request to `/v1/completions`."""
    return {
        "model": model,
        "prompt": list(PROMPT_TOKENS),
        "max_tokens": ANSWER_TOKENS,
        "temperature": 0,
        "logprobs": ALTERNATIVES,
        "ignore_eos": True,
        "return_tokens_as_token_ids": True,
    }


def chat_request(model: str) -> dict[str, Any]:
    """Return the body of the request to `/v1/chat/completions` that is sent once, at the start."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": CHAT_TOKENS,
        "temperature": 0,
        "reasoning_effort": "low",
    }


def read_completion(document: Mapping[str, Any]) -> Golden:
    """Return the answer in the body of a completion. Raises WrongAnswerError."""
    try:
        logprobs = document["choices"][0]["logprobs"]
        tokens = tuple(logprobs["tokens"])
        chosen = [float(value) for value in logprobs["token_logprobs"]]
        others = [dict(alternatives or {}) for alternatives in logprobs["top_logprobs"]]
        places = tuple(
            {**alternatives, token: value} for token, value, alternatives in zip(tokens, chosen, others, strict=True)
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise WrongAnswerError(f"the answer to the probe has no tokens with probabilities ({error!r})") from error
    if not tokens:
        raise WrongAnswerError("the answer to the probe has no token")
    if not all(math.isfinite(value) and value > _IMPOSSIBLE for value in chosen):
        raise WrongAnswerError("the probabilities in the answer to the probe are no numbers")
    return Golden(tokens=tokens, logprobs=places)


def check_chat(document: Mapping[str, Any]) -> None:
    """Raise WrongAnswerError unless vLLM could make reasoning or an answer out of the model's harmony."""
    try:
        message = document["choices"][0]["message"]
        texts = [message.get(key) for key in ("reasoning", "reasoning_content", "content")]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise WrongAnswerError(f"the answer to a chat has no message ({error!r})") from error
    if not any(isinstance(text, str) and text.strip() for text in texts):
        raise WrongAnswerError("the answer to a chat has neither reasoning nor content")


def compare(golden: Golden, answer: Golden) -> None:
    """Raise WrongAnswerError when `answer` is not `golden` as far as arithmetic allows."""
    if len(answer.tokens) != len(golden.tokens):
        raise WrongAnswerError("the answer to the probe has another length than at the start")
    for place, (before, now) in enumerate(zip(golden.tokens, answer.tokens, strict=True)):
        known, seen = golden.logprobs[place], answer.logprobs[place]
        if before != now:
            if known[before] - known.get(now, -math.inf) <= TOLERANCE:
                # They were as good as equal. From here on the answers are about different texts.
                return
            raise WrongAnswerError(f"token {place + 1} of the probe's answer is not the one of the start")
        if abs(known[before] - seen[before]) > TOLERANCE:
            raise WrongAnswerError(f"the probability of token {place + 1} of the probe's answer has moved")
