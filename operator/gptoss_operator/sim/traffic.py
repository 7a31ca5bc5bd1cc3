"""Requests in columns: a day of two million takes tens of megabytes instead of hundreds."""

from array import array
from collections.abc import Iterable, Sequence
from typing import overload

from gptoss_operator.sim.contract import Request


class Traffic(Sequence[Request]):
    """Requests in the order of time."""

    __slots__ = ("at", "generation_tokens", "prompt_tokens")

    def __init__(self, rows: Iterable[tuple[float, int, int]] = ()) -> None:
        """`rows`: seconds since the beginning, tokens of the prompt, tokens of the answer, in the order of time."""
        self.at = array("d")
        self.prompt_tokens = array("L")
        self.generation_tokens = array("L")
        self.extend(rows)

    def extend(self, rows: Iterable[tuple[float, int, int]]) -> None:
        """Add requests that come after those that are there."""
        for at, prompt, generation in rows:
            self.at.append(at)
            self.prompt_tokens.append(prompt)
            self.generation_tokens.append(generation)

    def __len__(self) -> int:
        return len(self.at)

    @overload
    def __getitem__(self, index: int) -> Request: ...

    @overload
    def __getitem__(self, index: slice) -> "Traffic": ...

    def __getitem__(self, index: int | slice) -> "Request | Traffic":
        if isinstance(index, slice):
            part = Traffic()
            part.at = self.at[index]
            part.prompt_tokens = self.prompt_tokens[index]
            part.generation_tokens = self.generation_tokens[index]
            return part
        return Request(
            at=self.at[index],
            prompt_tokens=self.prompt_tokens[index],
            generation_tokens=self.generation_tokens[index],
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Traffic) and all(
            getattr(self, name) == getattr(other, name) for name in Traffic.__slots__
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def rows(self) -> Iterable[tuple[float, int, int]]:
        """Return what it was made of."""
        return zip(self.at, self.prompt_tokens, self.generation_tokens, strict=True)


def in_columns(requests: Sequence[Request]) -> Traffic:
    """Return `requests` in columns."""
    if isinstance(requests, Traffic):
        return requests
    return Traffic((request.at, request.prompt_tokens, request.generation_tokens) for request in requests)
