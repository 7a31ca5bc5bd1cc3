"""Where files wait until all are there: `.partial` in the directory they belong to."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from gptoss_runtime.weights.listing import RemoteFile
from gptoss_runtime.weights.marker import MarkedFile


STAGE = ".partial"


class Stage:
    """Files by their identity, so that a source that has changed is never mixed with what was fetched before.

    A file that is on its way is called `<identity>.part`, a checked one `<identity>-<sha256>`.
    """

    def __init__(self, directory: Path) -> None:
        """Stand for the stage of `directory`, which need not be there yet."""
        self.path = directory / STAGE

    def prepare(self, files: Iterable[RemoteFile]) -> None:
        """Make the stage, without what belongs to none of `files`. Raises OSError."""
        self.path.mkdir(parents=True, exist_ok=True)
        identities = {file.identity for file in files}
        for path in self.path.iterdir():
            if path.name[:32] not in identities:
                path.unlink()

    def part(self, file: RemoteFile) -> Path:
        """Return where the file's beginning is, or will be."""
        return self.path / f"{file.identity}.part"

    def part_size(self, file: RemoteFile) -> int:
        """Return how many bytes of the file are there."""
        try:
            return min(self.part(file).stat().st_size, file.size)
        except FileNotFoundError:
            return 0

    def checked(self, file: RemoteFile) -> MarkedFile | None:
        """Return the file if it waits here, complete and checked."""
        for path in self.path.glob(f"{file.identity}-*"):
            return _marked(file, path.name.partition("-")[2])
        return None

    def keep(self, file: RemoteFile, sha256: str) -> None:
        """Note that the file on its way is complete and checked. Raises OSError."""
        self.part(file).replace(self._place(_marked(file, sha256)))

    def move_out(self, file: MarkedFile, directory: Path) -> None:
        """Put a checked file where it belongs. Raises OSError."""
        self._place(file).replace(directory / file.name)

    def remove(self) -> None:
        """Remove the stage with all that is in it. Raises OSError."""
        shutil.rmtree(self.path)

    def _place(self, file: MarkedFile) -> Path:
        return self.path / f"{file.identity}-{file.sha256}"


def _marked(file: RemoteFile, sha256: str) -> MarkedFile:
    return MarkedFile(name=file.name, size=file.size, sha256=sha256, identity=file.identity)
