"""Run a program to its end, with a bound, and turn its failure into words."""

import shlex
import subprocess
from collections.abc import Mapping, Sequence

from e2e.cluster.errors import ClusterError


LINES_OF_FAILURE = 20
"""How many of a failed program's last lines are shown."""


def run(
    argv: Sequence[str],
    *,
    timeout_seconds: float,
    given: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Return what the program printed to standard output.

    `given` is its standard input; without it, standard input is empty.
    Raises `ClusterError` with the program's last lines when it fails, is not there, or takes longer than
    `timeout_seconds`.
    """
    try:
        done = subprocess.run(
            argv,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_seconds,
            env=None if environment is None else dict(environment),
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"no end within {timeout_seconds:.0f} s: {shlex.join(argv)}") from error
    except OSError as error:
        raise ClusterError(f"cannot run {argv[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise ClusterError(
            f"exit status {done.returncode}: {shlex.join(argv)}\n{last_lines(done.stderr or done.stdout)}"
        )
    return done.stdout


def last_lines(text: str, count: int = LINES_OF_FAILURE) -> str:
    """Return the last lines of a program's output, indented, for an error message."""
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-count:])
