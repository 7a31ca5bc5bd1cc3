"""Only one fetch at a time fills a directory."""

import fcntl
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from gptoss_runtime.weights.errors import FetchError
from gptoss_runtime.weights.marker import sizes_in


POLL_SECONDS = 0.5
SAY_SECONDS = 10.0
STILL_SECONDS = 900.0
"""How long the other fetch may add nothing: checking what it has takes minutes on a slow disk."""

log = logging.getLogger("gptoss_runtime.weights")


@contextmanager
def locked(lock: Path, *, stage: Path, still_seconds: float = STILL_SECONDS) -> Iterator[None]:
    """Hold `lock` while the body runs; the kernel lets go of it when the process ends, however it ends.

    Waits as long as the other fetch makes progress in `stage`. Where the file system knows no locks, the body runs
    without one. Raises FetchError when the other one stands still for too long, OSError when the file cannot be made.
    """
    with lock.open("a+", encoding="utf-8") as file:
        still = 0.0
        seen: object = None
        since = said = time.monotonic()
        while not acquired(file):
            now = time.monotonic()
            if (sizes := sizes_in(stage)) != seen:
                seen, since = sizes, now
            still = now - since
            holder = _holder(lock)
            if still > still_seconds:
                raise FetchError(
                    f"another fetch{holder} holds {lock} and has added nothing for {still:.0f} s: end it, and run again"
                )
            if now - said >= SAY_SECONDS:
                said = now
                gigabytes = sum(sizes.values()) / 10**9
                log.info("Another fetch%s is at work here, %.1f GB so far; waiting for it", holder, gigabytes)
            time.sleep(POLL_SECONDS)
        _sign(file)
        yield


def acquired(file: TextIO, lock: Callable[[int, int], None] = fcntl.flock) -> bool:
    """Return whether the file is ours now, also where the file system knows no locks."""
    try:
        lock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        log.warning("This file system keeps no locks (%s): nobody else may fetch here meanwhile", error.strerror)
    return True


def _sign(file: TextIO) -> None:
    """Say who holds the lock, for those who wait."""
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()


def _holder(lock: Path) -> str:
    try:
        text = lock.read_text(encoding="utf-8", errors="replace")[:200]
    except OSError:
        return ""
    return f" ({text})" if text else ""
