"""Whether files are what their source says of them."""

import logging
from pathlib import Path

from gptoss_runtime.weights.digest import read_digests
from gptoss_runtime.weights.listing import DigestKind, RemoteFile


log = logging.getLogger("gptoss_runtime.weights")


class Checker:
    """Reads files back, and remembers what was wrong before."""

    def __init__(self) -> None:
        self._wrong: dict[str, str] = {}
        self._etags_are_md5 = True

    def sha256(self, file: RemoteFile, path: Path) -> str | None:
        """Return the SHA-256 of what lies at `path`; None when it is not what the source says. Raises OSError.

        An ETag that looks like an MD5 need not be one (stores that encrypt with a customer's key): when a file has
        come twice with the same content, it is the ETag that is something else.
        """
        size = path.stat().st_size
        if size != file.size:
            # As after two fetches at once, where the file system keeps no locks.
            log.warning("%s has %d bytes here, and %d where it comes from", file.name, size, file.size)
            return None
        kind = file.digest.kind if file.digest else DigestKind.SHA256
        reading = read_digests(path, kind)
        if file.digest is None or reading.found == file.digest.value:
            return reading.sha256
        if kind is DigestKind.MD5 and (not self._etags_are_md5 or self._wrong.get(file.name) == reading.sha256):
            if self._etags_are_md5:
                log.warning("The store's ETags are no MD5 sums: sizes alone are checked")
            self._etags_are_md5 = False
            return reading.sha256
        self._wrong[file.name] = reading.sha256
        log.warning("%s is not what its source says: %s is %s, not %s", file.name, kind, reading.found, file.digest)
        return None
