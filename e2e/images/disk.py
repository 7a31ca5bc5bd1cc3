"""Is there room? Asked before the work, since a full disk in the middle of it harms everything else on the machine."""

import shutil
from pathlib import Path

from e2e.images.errors import NotPossibleHereError


GIB = 2**30


def shortage(free_bytes: int, needed_bytes: int, path: Path, purpose: str) -> str | None:
    """Return the sentence that says how much room is missing where, or None when there is enough."""
    if free_bytes >= needed_bytes:
        return None
    missing = (needed_bytes - free_bytes) / GIB
    return (
        f"{purpose} needs {needed_bytes / GIB:.1f} GiB free at {path}, which has {free_bytes / GIB:.1f} GiB: "
        f"{missing:.1f} GiB are missing. Free some space there, or set XDG_CACHE_HOME to a directory on a larger disk."
    )


def require_free(path: Path, needed_bytes: int, purpose: str) -> None:
    """Raise `NotPossibleHereError` when the file system below `path` has less than `needed_bytes` free.

    `path` need not exist yet; its nearest existing parent is asked.
    """
    existing = path
    while not existing.exists():
        existing = existing.parent
    sentence = shortage(shutil.disk_usage(existing).free, needed_bytes, existing, purpose)
    if sentence is not None:
        raise NotPossibleHereError(sentence)
