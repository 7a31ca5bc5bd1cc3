"""Run long programs for a person who waits: signs of life, a bound, and what was said last when they fail."""

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from e2e.images.errors import CommandFailedError
from e2e.progress import say


SIGN_OF_LIFE_SECONDS = 15
LAST_LINES = 15

_DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
"""Also when we are killed in a way that lets us do nothing, nothing of ours goes on."""


def last_lines(log: Path) -> str:
    """Return the end of a log, indented, for an error message."""
    with log.open(errors="replace") as lines:
        return "".join(f"    {line}" for line in deque(lines, LAST_LINES)).rstrip()


def run_logged(
    command: Sequence[str | Path], log: Path, *, bound_seconds: float, environment: Mapping[str, str] | None = None
) -> None:
    """Run a program with its output in `log`, and show a sign of life while it works.

    Raises `CommandFailedError` when it fails, or when it has not ended after `bound_seconds`; it and what it started
    are killed then, as they are when we are interrupted.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        # A session of its own, so that the whole family can be killed and Ctrl-C reaches us first.
        process = subprocess.Popen(
            [*_DIE_WITH_US, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            start_new_session=True,
        )
    try:
        wait_showing_life(process, log, bound_seconds)
    finally:
        end_family(process)
    if process.returncode != 0:
        raise CommandFailedError(
            f"`{' '.join(map(str, command))}` ended with {process.returncode}. "
            f"Its log is {log}, which ends:\n{last_lines(log)}"
        )


def wait_showing_life(process: subprocess.Popen[bytes], log: Path, bound_seconds: float) -> None:
    """Wait for a process, and print the last line of its log from time to time.

    Raises `CommandFailedError` when it has not ended after `bound_seconds`; it is not killed here.
    """
    start = time.monotonic()
    while (spent := time.monotonic() - start) < bound_seconds:
        try:
            process.wait(timeout=min(SIGN_OF_LIFE_SECONDS, bound_seconds - spent))
        except subprocess.TimeoutExpired:
            said = last_lines(log).splitlines()
            say(f"  {time.monotonic() - start:.0f} s {said[-1].strip()[:100] if said else ''}")
        else:
            return
    raise CommandFailedError(
        f"`{process.args!r}` has not ended after {bound_seconds:.0f} s. Its log is {log}; its end:\n{last_lines(log)}"
    )


def end_family(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a session of its own, and what it started there; do nothing when it has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
