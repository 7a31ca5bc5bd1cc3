"""Reading a file and telling whether it is what its source says."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from gptoss_runtime.weights.listing import Digest, DigestKind


BLOCK_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a file turned out to be when it was read."""

    sha256: str
    found: str
    """Its digest of the kind that was asked for."""


def read_digests(path: Path, kind: DigestKind) -> Reading:
    """Return the digests of a file, after its content has reached the disk. Raises OSError."""
    sha256 = hashlib.sha256()
    other = None
    with path.open("rb") as file:
        os.fsync(file.fileno())
        if kind is DigestKind.GIT_BLOB:
            size = os.fstat(file.fileno()).st_size
            other = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
        elif kind is DigestKind.MD5:
            other = hashlib.md5(usedforsecurity=False)
        while block := file.read(BLOCK_BYTES):
            sha256.update(block)
            if other is not None:
                other.update(block)
    return Reading(sha256=sha256.hexdigest(), found=(other or sha256).hexdigest())


def digest_of_hex(text: str) -> Digest | None:
    """Return the digest that a hub's ETag is: git's for small files, SHA-256 for large ones. None: neither."""
    value = text.strip('"').lower()
    kind = {40: DigestKind.GIT_BLOB, 64: DigestKind.SHA256}.get(len(value))
    if kind is None or not set(value) <= set("0123456789abcdef"):
        return None
    return Digest(kind=kind, value=value)
