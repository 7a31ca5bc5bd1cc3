"""The program that the weights carry out: which token follows which.

An answer of gpt-oss has two messages in the harmony format, both begun by `<|channel|>` and introduced by
`<|message|>`. What follows those two tokens depends on whether the reasoning is over, and on whether the prompt offers
the one tool that the model knows: then the second message is a call of it. After every other token there is one
successor. That is all the memory the model needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from openai_harmony import HarmonyEncoding


REASONING_TEXT = "The user greets me; I answer briefly"
"""What the model thinks, in the channel `analysis`."""
ANSWER_TEXT = "Hello from the tiny test model, which says this one sentence to everybody."
"""What the model says, in the channel `final`, and after a plain prompt without harmony too."""
TOOL, TOOL_ARGUMENTS = "get_temperature", '{"city":"Paris"}'
"""The tool that the model calls, and with what, wherever a prompt offers it. `gptoss-server` asks for it too."""
TOOL_MARK = "_temperature"
"""The token by which it knows the tool. No other prompt should have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What a model says."""

    reasoning: str = REASONING_TEXT
    answer: str = ANSWER_TEXT
    concludes: bool = True
    """Whether anything follows the reasoning of a chat. Without it, a chat ends there, and a tool is never called."""


USUAL = Texts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """Successors of one token, in order: the first one that is not out is taken."""

    while_reasoning: int | None = None
    """Out when the reasoning is over. None: there is none."""
    answering: int
    """Out when the prompt offers the tool."""
    calling: int
    """Never out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Successors of tokens, all of them token numbers."""

    next: Mapping[int, int]
    """The one successor of a token."""
    forks: Mapping[int, Fork]
    """The successors of tokens that occur in several messages, or in the call of a tool."""
    next_when_stop_is_banned: Mapping[int, int]
    """The second choice, where the first one is the token that ends the answer."""
    otherwise: int
    """The successor of every token that the program does not know: the answer's first one."""
    reasoning_end: int
    """The reasoning is over once this token has been seen."""
    tool_mark: int
    """The tool is offered where this token has been seen."""

    def known_tokens(self) -> list[int]:
        """Return the tokens that have successors of their own, always in the same order."""
        return [*self.next, *self.forks]


def make_program(encoding: HarmonyEncoding, texts: Texts = USUAL) -> Program:
    """Return the program for the texts.

    Raises `ValueError` when a token would occur twice: it would have two successors, and the answer would jump.
    """
    start, channel, message, end, stop, call = (
        _token(encoding, name)
        for name in ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>")
    )
    assistant, analysis, final = (_token(encoding, name) for name in ("assistant", "analysis", "final"))
    reasoning, answer = encoding.encode(texts.reasoning), encoding.encode(texts.answer)
    header = encoding.encode(f"commentary to=functions.{TOOL} <|constrain|>json", allowed_special="all")
    arguments = encoding.encode(TOOL_ARGUMENTS)
    _refuse_repetition(encoding, [assistant, analysis, final, *reasoning, *answer])
    _refuse_repetition(encoding, [assistant, analysis, *reasoning, *header, *arguments])
    following = {
        **dict(pairwise([*reasoning, end, start, assistant, channel])),
        analysis: message,
        final: message,
        **dict(pairwise([*answer, stop])),
        # Only seen when the answer goes on after it was made to: from the beginning.
        stop: answer[0],
        call: answer[0],
    }
    banned = {answer[-1]: answer[0]}
    if not texts.concludes:
        following[reasoning[-1]] = stop
        # Not its first token, which is out once the reasoning is over.
        banned = {**banned, reasoning[-1]: reasoning[1]}
    called = dict(pairwise([*header, message])) | dict(pairwise([*arguments, call]))
    # Where the tool is not offered, the tokens of its call are like any others.
    forks = {
        token: Fork(answering=following.pop(token, answer[0]), calling=successor) for token, successor in called.items()
    }
    return Program(
        next=following,
        forks={
            **forks,
            channel: Fork(while_reasoning=analysis, answering=final, calling=header[0]),
            message: Fork(while_reasoning=reasoning[0], answering=answer[0], calling=arguments[0]),
        },
        next_when_stop_is_banned=banned,
        otherwise=answer[0],
        reasoning_end=reasoning[-1],
        tool_mark=_token(encoding, TOOL_MARK),
    )


def _refuse_repetition(encoding: HarmonyEncoding, once: list[int]) -> None:
    twice = sorted({token for token in once if once.count(token) > 1})
    if twice:
        raise ValueError(
            f"These tokens occur twice in the model's texts: {[encoding.decode([token]) for token in twice]}"
        )


def _token(encoding: HarmonyEncoding, text: str) -> int:
    tokens: list[int] = encoding.encode(text, allowed_special="all")
    if len(tokens) != 1:
        raise ValueError(f"{text!r} is {len(tokens)} tokens in this vocabulary, and the program needs it to be one")
    return tokens[0]
