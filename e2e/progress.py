"""Progress for the person who waits: each step with the seconds that it took."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print `what` when it begins, and how long it took when it has ended, well or badly."""
    began = time.monotonic()
    say(f"{what} ...")
    try:
        yield
    except BaseException:
        say(f"{what}: failed after {time.monotonic() - began:.1f} s")
        raise
    say(f"{what}: {time.monotonic() - began:.1f} s")


def say(line: str) -> None:
    """Print one line of progress to standard error, so that standard output stays for results."""
    print(f"  {line}", file=sys.stderr, flush=True)
