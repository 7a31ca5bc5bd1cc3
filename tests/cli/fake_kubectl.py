"""A program `kubectl` that a test writes: it records what it is asked, and answers what the test has prepared."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cli.rollouts import Json


PROGRAM = """#!{python} -SE
import json, pathlib, signal, sys

home = pathlib.Path({home!r})
arguments = sys.argv[1:]
with (home / "calls").open("a") as calls:
    calls.write(json.dumps(arguments) + "\\n")
verb = next(a for a in arguments if not a.startswith("-"))
if "--watch" in arguments:
    verb = "watch"
prepared = sorted(home.glob(verb + "-*.json"))
answer = json.loads(prepared[0].read_text())
if len(prepared) > 1:
    prepared[0].unlink()
sys.stdout.write(answer["stdout"])
sys.stdout.flush()
sys.stderr.write(answer["stderr"])
if answer["stays"]:
    signal.pause()
sys.exit(answer["status"])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeKubectl:
    """What it is asked and answers, in files of a directory."""

    home: Path

    def install(self) -> None:
        """Write the program."""
        program = self.home / "kubectl"
        program.write_text(PROGRAM.format(python=sys.executable, home=str(self.home)))
        program.chmod(0o755)

    def answers(self, verb: str, *objects: Json) -> None:
        """Answer the next call of `verb` with the first object, and so on; the last one stays."""
        for body in objects:
            self._prepare(verb, stdout=json.dumps(body, indent=4) + "\n")

    def fails(self, verb: str, stderr: str) -> None:
        self._prepare(verb, stderr=stderr, status=1)

    def delivers(self, events: Sequence[tuple[str, Json]], *, ends: bool = False, stderr: str = "") -> None:
        """Let the next watch deliver `events`, and then wait to be ended, or end."""
        shown = "".join(json.dumps({"type": kind, "object": body}) + "\n" for kind, body in events)
        self._prepare("watch", stdout=shown, stays=not ends, stderr=stderr, status=bool(stderr))

    def calls(self) -> list[list[str]]:
        """Return the arguments of each call so far."""
        return [json.loads(line) for line in (self.home / "calls").read_text().splitlines()]

    def _prepare(self, verb: str, *, stdout: str = "", stderr: str = "", status: int = 0, stays: bool = False) -> None:
        answer = {"stdout": stdout, "stderr": stderr, "status": status, "stays": stays}
        number = len(list(self.home.glob(f"{verb}-*.json")))
        (self.home / f"{verb}-{number:03}.json").write_text(json.dumps(answer))
