"""Where built layers and logs are kept between runs."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.progress import say


def cache_directory() -> Path:
    """Return the directory of this package's cache; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gptoss-operator" / "images"


@contextmanager
def locked(cache: Path) -> Iterator[None]:
    """Hold the cache for one builder at a time.

    Waits as long as the other builder lives: the kernel lets go of its lock when it ends, however it ends.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another build holds {cache / 'lock'}; waiting for it to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
