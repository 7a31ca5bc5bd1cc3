"""Asking vLLM's own parser, in the room, what it makes of command lines."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.vllm.replica import CPU_ENVIRONMENT
from e2e.vllm.room import Room, RoomError, run_in


PROGRAM = Path(__file__).with_name("parser_program.py")
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
    asked = json.dumps([list(line) for line in command_lines])
    program = ["python3", "-c", PROGRAM.read_text()]
    said = run_in(room, program, stdin=asked, timeout_seconds=PARSE_SECONDS, **CPU_ENVIRONMENT)
    if said.returncode != 0:
        raise RoomError(f"vLLM's parser cannot be asked; the program ended with {said.returncode}:\n{said.stderr}")
    # vLLM greets on standard output; the document is the last line.
    document = json.loads(said.stdout.strip().splitlines()[-1])
    return Answer(
        flags=frozenset(document["flags"]),
        load_formats=frozenset(document["load_formats"]),
        parsed=tuple(Parsed(values=one["values"], error=one["error"]) for one in document["parsed"]),
    )
