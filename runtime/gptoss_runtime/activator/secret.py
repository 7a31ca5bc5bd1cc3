"""A mounted Secret: its entries, and whether they may have changed."""

import logging
import os
from pathlib import Path


POLL_SECONDS = 0.5
"""How often a Secret is looked at. kubelet swaps one symbolic link, so that one look is cheap."""
_DATA = "..data"

log = logging.getLogger("gptoss_runtime.activator")


class MountedSecret:
    """Entries of a Secret in a directory. kubelet changes them all at once, by swapping the link `..data`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: object = None

    def changed(self) -> bool:
        """Return whether it may have changed since this was last asked; at first, it has."""
        seen = self._mark()
        if seen == self._seen:
            return False
        self._seen = seen
        return True

    def read(self) -> dict[str, bytes]:
        """Return the entries by name; none if the Secret is not there."""
        try:
            # Through the link only once, so that all entries are of one version.
            version = (self._directory / _DATA).resolve(strict=True)
        except OSError:
            version = self._directory
        try:
            # What begins with two dots is kubelet's own.
            names = sorted(path.name for path in version.iterdir() if not path.name.startswith(".."))
        except OSError:
            return {}
        found = {name: _content(version / name) for name in names}
        return {name: content for name, content in found.items() if content is not None}

    def _mark(self) -> object:
        link = self._directory / _DATA
        try:
            return link.readlink()
        except OSError:
            pass
        # Not kubelet's: a plain directory, as in tests and outside clusters.
        try:
            entries = sorted(os.scandir(self._directory), key=lambda entry: entry.name)
            return [(entry.name, entry.stat().st_mtime_ns, entry.stat().st_size) for entry in entries]
        except OSError:
            return "missing"


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        # Swapped in this moment, or no file: the next look finds another version.
        return None
