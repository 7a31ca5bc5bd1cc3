"""Image stores that outlive clusters: gigabytes of images are imported and unpacked once.

Two containerds cannot share a store, so there are several, and a cluster takes the first that is free. A store is taken
while any process holds its lock's descriptor, which containerd inherits: the lock ends with the last of them, however
they end.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.errors import ClusterError
from e2e.cluster.local.places import cache_root


STORES = 8
"""More clusters with a node than that do not run at once on any machine that this is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A directory for containerd's content, metadata and unpacked layers, and the open lock on it."""

    root: Path
    lock: int
    """Descriptor of the lock file, to be inherited by containerd and then closed here."""


def take_store() -> Store:
    """Return the first store that no cluster uses. Raises `ClusterError` when all are in use."""
    for number in range(STORES):
        directory = cache_root() / "containerd" / str(number)
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        fcntl.fcntl(lock, fcntl.F_SETFD, 0)  # to be inherited, which Python prevents by default
        return Store(root=directory / "root", lock=lock)
    raise ClusterError(f"all {STORES} image stores below {cache_root()}/containerd are in use: end a cluster first")
