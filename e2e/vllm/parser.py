"""Asking vLLM's own parser, in the room, what it makes of command lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from e2e.vllm.inside import ask_inside
from e2e.vllm.room import Room


PARSE_SECONDS = 180.0
"""Importing vLLM takes some ten seconds of CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What vLLM made of one command line."""

    values: dict[str, Any] | None
    """Every argument by vLLM's name for it, also those that were not given. None: its parser refused."""
    error: str
    """Why its parser or its configuration refused; empty when neither did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What vLLM's parser said."""

    flags: frozenset[str]
    """All that it knows."""
    load_formats: frozenset[str]
    """All that it can load."""
    parsed: tuple[Parsed, ...]
    """In the order of the command lines."""


def parse_all(room: Room, command_lines: Sequence[Sequence[str]]) -> Answer:
    """Return what vLLM's parser makes of `command_lines`. Raises RoomError when it cannot be asked."""
    asked = [list(line) for line in command_lines]
    document = ask_inside(room, "parser_program.py", asked, seconds=PARSE_SECONDS)
    return Answer(
        flags=frozenset(document["flags"]),
        load_formats=frozenset(document["load_formats"]),
        parsed=tuple(Parsed(values=one["values"], error=one["error"]) for one in document["parsed"]),
    )
