"""Room on the disk, and what its refusals mean."""

import errno
import os
import pwd
from pathlib import Path

from gptoss_runtime.weights.errors import FetchError


GIB = 2**30
REMEDY = "give spec.cache more room (persistentVolumeClaim.size, ephemeral.sizeLimit, or the node's disk)"


def require_room(directory: Path, needed_bytes: int) -> None:
    """Raise FetchError where `directory` has not room for as many bytes more."""
    facts = os.statvfs(directory)
    free = facts.f_bavail * facts.f_frsize
    if free < needed_bytes:
        raise FetchError(
            f"{directory} needs {needed_bytes / GIB:.1f} GiB more and has {free / GIB:.1f} GiB free "
            f"of {facts.f_blocks * facts.f_frsize / GIB:.1f} GiB: {REMEDY}"
        )


def explained(error: OSError, directory: Path) -> FetchError:
    """Return what a refusal of the file system in or above `directory` means, with the remedy."""
    where = error.filename or directory
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return FetchError(
                f"user {_user()} may not write to {where}: {_owner(Path(where))}; let that user write there"
            )
        case errno.EROFS:
            return FetchError(f"{where} is mounted read-only: mount the cache's volume writable")
        case errno.ENOSPC | errno.EDQUOT:
            return FetchError(f"{directory} is full: {REMEDY}; the next run goes on where this one stopped")
        case _:
            return FetchError(f"{where}: {error.strerror or error}")


def _user() -> str:
    number = os.geteuid()
    try:
        return f"{number} ({pwd.getpwuid(number).pw_name})"
    except KeyError:
        return str(number)


def _owner(directory: Path) -> str:
    """Say whose the directory is, or the nearest one above it that there is."""
    for path in (directory, *directory.parents):
        try:
            facts = path.stat()
        except OSError:
            continue
        return f"{path} belongs to user {facts.st_uid} and group {facts.st_gid}, mode {facts.st_mode & 0o7777:o}"
    return "nothing of its path can be seen"
