"""A directory tree as a tar stream whose bytes depend on the tree alone."""

import hashlib
import os
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast


MTIME = 0
"""Every entry's time, seconds since 1970. Bytecode must therefore not be checked against its source's time."""
CHUNK_BYTES = 1 << 20
NOT_IN_AN_IMAGE = frozenset({"dev", "proc", "run", "sys", "tmp"})
"""Top-level directories that are kept empty: package tools leave junk there, and who runs the image mounts them."""


class Sink(Protocol):
    """Somewhere to write bytes to."""

    def write(self, data: bytes, /) -> object:
        """Take `data` as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A piece of content as a registry names it."""

    digest: str
    """`sha256:` and 64 hexadecimal digits."""
    size_bytes: int


class DigestSink:
    """Counts and hashes what is written to it, and keeps nothing."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._size_bytes = 0

    def write(self, data: bytes, /) -> None:
        """Take `data` as a whole."""
        self._sha256.update(data)
        self._size_bytes += len(data)

    def blob(self) -> Blob:
        """Return what has been written so far."""
        return Blob(digest=f"sha256:{self._sha256.hexdigest()}", size_bytes=self._size_bytes)


def measure(tree: Path) -> Blob:
    """Return digest and size of the tar stream that `write_tar` makes of `tree`."""
    sink = DigestSink()
    write_tar(tree, sink)
    return sink.blob()


def write_tar(tree: Path, out: Sink) -> None:
    """Write `tree` as a tar stream: sorted, with fixed times, owners by number, and hard links as files.

    Raises `ValueError` for an entry that is no directory, file or symbolic link.
    """
    # A stream archive is only ever written to, whatever its type asks for.
    with tarfile.open(mode="w|", fileobj=cast("BinaryIO", out), bufsize=CHUNK_BYTES, format=tarfile.GNU_FORMAT) as tar:
        _add_children(tar, tree, Path())


def _add_children(tar: tarfile.TarFile, tree: Path, below: Path) -> None:
    with os.scandir(tree / below) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        name = below / entry.name
        status = entry.stat(follow_symlinks=False)
        info = tarfile.TarInfo(str(name))
        info.mtime, info.uid, info.gid = MTIME, status.st_uid, status.st_gid
        info.mode = stat.S_IMODE(status.st_mode)
        if entry.is_symlink():
            info.type, info.linkname = tarfile.SYMTYPE, str(Path(entry.path).readlink())
            tar.addfile(info)
        elif entry.is_dir():
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
            if str(name) not in NOT_IN_AN_IMAGE:
                _add_children(tar, tree, name)
        elif entry.is_file():
            info.size = status.st_size
            with Path(entry.path).open("rb") as content:
                tar.addfile(info, content)
        else:
            raise ValueError(f"{entry.path} is neither a directory, a file nor a link: it cannot be part of an image")
