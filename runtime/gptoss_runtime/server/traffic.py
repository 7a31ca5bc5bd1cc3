"""Whether the replica gets requests, and what share: the kubelet keeps the word of a rollout in a file of the pod."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from gptoss_runtime.contract import OPEN_SHARE, canary_share


READ_EVERY_SECONDS = 0.25
_MAX_BYTES = 64
"""More than any word that is known; what is longer is none."""

log = logging.getLogger(__name__)


async def follow_traffic(path: Path, note: Callable[[int], None]) -> None:
    """Call `note` with the percentage of a full share that the file grants, at once and again and again."""
    unknown = ""
    while True:
        text = read_word(path)
        share = canary_share(text)
        if share is None and text != unknown:
            log.warning("%s says %r, which is neither closed, open nor a percentage: the replica is open", path, text)
        unknown = text if share is None else ""
        note(OPEN_SHARE if share is None else share)
        await asyncio.sleep(READ_EVERY_SECONDS)


def read_word(path: Path) -> str:
    """Return what the file says; empty where it is absent or cannot be read.

    A replica that nobody says anything of is open: outside of a rollout there may be no such file.
    """
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode(errors="replace").strip()
    except OSError:
        return ""
