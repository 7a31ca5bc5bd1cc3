"""Asking vLLM's own code, in the room, by small programs that read and print JSON."""

import json
from pathlib import Path
from typing import Any

from e2e.vllm.replica import CPU_ENVIRONMENT
from e2e.vllm.room import Room, RoomError, run_in


def ask_inside(room: Room, program: str, question: object, *, seconds: float, **environment: str) -> Any:  # noqa: ANN401 - JSON
    """Return what the program, a file beside this one, makes of `question`.

    Raises RoomError with what it said when it fails, subprocess.TimeoutExpired when `seconds` are over.
    """
    source = Path(__file__).with_name(program).read_text()
    said = run_in(
        room,
        ["python3", "-c", source],
        stdin=json.dumps(question),
        timeout_seconds=seconds,
        **CPU_ENVIRONMENT,
        **environment,
    )
    if said.returncode != 0:
        raise RoomError(f"{program} ended with {said.returncode}:\n{said.stderr}")
    # vLLM writes its log to standard output too; the answer is the last line.
    return json.loads(said.stdout.strip().splitlines()[-1])
