"""What a source says that it holds."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class DigestKind(StrEnum):
    """How a source names the content of a file."""

    SHA256 = "sha256"
    GIT_BLOB = "git-blob-sha1"
    MD5 = "md5"
    """The ETag of many object stores, but of none that encrypts with keys of its own: not matching proves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What a file's content must add up to."""

    kind: DigestKind
    value: str
    """Hexadecimal, lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One file of a source."""

    name: str
    size: int
    """In bytes."""
    tag: str = ""
    """Changes when the content does: a digest, or an ETag. Empty where the source gives none."""
    digest: Digest | None = None
    """None where the source gives none; then only the size is checked."""

    @property
    def identity(self) -> str:
        """Name of this very content, for what has been fetched of it so far."""
        return hashlib.sha256(f"{self.name}\0{self.size}\0{self.tag}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The files of one state of a source."""

    commit: str
    """The state's name, which never means another one. Empty where the source has no such names."""
    names: frozenset[str]
    """Files at the root; directories are left out."""


class Source(Protocol):
    """Where weights come from. Every method raises FetchError, or TransientError where trying again may help."""

    @property
    def host(self) -> str:
        """Return who is asked, for people."""

    def open(self, commit: str) -> Contents:
        """Return what there is; `commit` names the state wanted, empty the one of the order."""

    def describe(self, name: str) -> RemoteFile:
        """Return size and digest of a file that `open` named."""

    def chunks(self, file: RemoteFile, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to `end`, as they come; it may end early."""
