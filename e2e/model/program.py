"""The program that the weights carry out: which token follows which.

An answer of gpt-oss has two messages in the harmony format, both begun by `<|channel|>` and introduced by
`<|message|>`. What follows those two tokens depends on whether the reasoning is over; after every other token there is
one successor. That is all the memory the model needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from openai_harmony import HarmonyEncoding


REASONING_TEXT = "The user greets me; I answer briefly"
"""What the model thinks, in the channel `analysis`."""
ANSWER_TEXT = "Hello from the tiny test model, which says this one sentence to everybody."
"""What the model says, in the channel `final`, and after a plain prompt without harmony too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """Two successors of one token."""

    while_reasoning: int
    after_reasoning: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Successors of tokens, all of them token numbers."""

    next: Mapping[int, int]
    """The one successor of a token."""
    forks: Mapping[int, Fork]
    """The two successors of the tokens that occur in both messages."""
    next_when_stop_is_banned: Mapping[int, int]
    """The second choice, where the first one is the token that ends the answer."""
    otherwise: int
    """The successor of every token that the program does not know: the answer's first one."""
    reasoning_end: int
    """The reasoning is over once this token has been seen."""

    def known_tokens(self) -> list[int]:
        """Return the tokens that have successors of their own, always in the same order."""
        return [*self.next, *self.forks]


def make_program(encoding: HarmonyEncoding) -> Program:
    """Return the program for the two texts.

    Raises `ValueError` when a token would occur twice: it would have two successors, and the answer would jump.
    """
    start, channel, message, end, stop = (
        _token(encoding, name) for name in ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>")
    )
    assistant, analysis, final = (_token(encoding, name) for name in ("assistant", "analysis", "final"))
    reasoning, answer = encoding.encode(REASONING_TEXT), encoding.encode(ANSWER_TEXT)
    once = [assistant, analysis, final, *reasoning, *answer]
    twice = sorted({token for token in once if once.count(token) > 1})
    if twice:
        raise ValueError(
            f"These tokens occur twice in the model's texts: {[encoding.decode([token]) for token in twice]}"
        )
    return Program(
        next={
            **dict(pairwise([*reasoning, end, start, assistant, channel])),
            analysis: message,
            final: message,
            **dict(pairwise([*answer, stop])),
            # Only seen when the answer goes on after it was made to: from the beginning.
            stop: answer[0],
            _token(encoding, "<|call|>"): answer[0],
        },
        forks={
            channel: Fork(while_reasoning=analysis, after_reasoning=final),
            message: Fork(while_reasoning=reasoning[0], after_reasoning=answer[0]),
        },
        next_when_stop_is_banned={answer[-1]: answer[0]},
        otherwise=answer[0],
        reasoning_end=reasoning[-1],
    )


def _token(encoding: HarmonyEncoding, text: str) -> int:
    tokens: list[int] = encoding.encode(text, allowed_special="all")
    if len(tokens) != 1:
        raise ValueError(f"{text!r} is {len(tokens)} tokens in this vocabulary, and the program needs it to be one")
    return tokens[0]
