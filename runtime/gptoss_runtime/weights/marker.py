"""The marker of a complete directory: what was fetched, from where, and what each file must be."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from gptoss_runtime.orders import WeightsOrder


MARKER = ".gptoss-weights.json"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedFile:
    """One file that is complete."""

    name: str
    size: int
    """In bytes."""
    sha256: str
    """Of what lies in the directory, as it was read after it was written."""
    identity: str
    """`RemoteFile.identity` of what it was fetched from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """What a complete directory holds."""

    source: str
    revision: str
    """As it was asked for."""
    endpoint: str
    commit: str
    """What the revision meant. Empty for an object store."""
    files: tuple[MarkedFile, ...]
    tool: str
    """Program that wrote it, with its version."""
    finished_at: str
    """ISO 8601, in UTC."""

    def encode(self) -> str:
        """Return it as JSON, for people too."""
        return json.dumps({"version": VERSION, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def decode(cls, text: str) -> Self | None:
        """Return the marker in `text`; None where it is none of ours, or of another version."""
        try:
            document = json.loads(text)
            if document.pop("version") != VERSION:
                return None
            files = tuple(MarkedFile(**file) for file in document.pop("files"))
            return cls(files=files, **document)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def misfit(self, order: WeightsOrder) -> str | None:
        """Return why the directory is not what the order asks for; None where it is."""
        if self.source != order.source:
            return f"it holds {self.source}, not {order.source}"
        # A commit may be asked for by its own name too. A mirror of the hub holds the same under the same commit.
        if order.revision not in {self.revision, self.commit}:
            return f"it holds revision {self.revision or 'default'!r} ({self.commit}), not {order.revision!r}"
        if not self.commit and self.endpoint != order.endpoint:
            return f"it was fetched from {self.endpoint or 'the public store'}, not from {order.endpoint!r}"
        return None

    def damaged(self, sizes: Mapping[str, int]) -> tuple[MarkedFile, ...]:
        """Return the files that are missing, or have another size; `sizes` are those of what lies there, in bytes."""
        return tuple(file for file in self.files if sizes.get(file.name) != file.size)


def read_marker(directory: Path) -> Marker | None:
    """Return the directory's marker, None where there is none that can be understood. Raises OSError."""
    try:
        return Marker.decode((directory / MARKER).read_text(encoding="utf-8", errors="replace"))
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_marker(directory: Path, marker: Marker) -> None:
    """Write the marker so that it is there as a whole or not at all. Raises OSError."""
    draft = directory / f"{MARKER}.new"
    with draft.open("w", encoding="utf-8") as file:
        file.write(marker.encode())
        file.flush()
        os.fsync(file.fileno())
    draft.replace(directory / MARKER)
    sync_directory(directory)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory survive a crash of the machine. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sizes_in(directory: Path) -> dict[str, int]:
    """Return the files that lie in a directory, with their sizes in bytes. Raises OSError."""
    sizes = {}
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            # Another fetch may move a file away while we look.
            with suppress(FileNotFoundError):
                if entry.is_file():
                    sizes[entry.name] = entry.stat().st_size
    return sizes
