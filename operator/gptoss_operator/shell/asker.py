"""Asks pods for their state, each over its own line, one question at a time for each and so many at once for all."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from gptoss_operator.core.objects import Pod
from gptoss_operator.shell.ask import DEADLINE_SECONDS, Decode, Line
from gptoss_operator.shell.samples import Result, ScrapeFailed


AT_ONCE: Final = 1000
"""Questions in flight. So many that pods which do not answer hardly delay the others."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Generic[T]):
    """One question that was put."""

    answer: T | ScrapeFailed
    seconds: float
    """How long it took to answer, or not to."""


class Asker(Generic[T]):
    """Asks pods of one kind."""

    def __init__(self, port: int, decode: Decode[T]) -> None:
        """Ask at `port` of their addresses, and read the answers with `decode`."""
        self.port = port
        self._decode = decode
        self._lines: dict[str, Line[T]] = {}
        self._asking: set[str] = set()
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def ask(self, pod: Pod, deadline_seconds: float = DEADLINE_SECONDS) -> Asked[T] | None:
        """Return what came of a question. None: the pod has not answered the last one yet, so it was not asked."""
        uid = pod.metadata.uid
        if uid in self._asking:
            return None
        self._asking.add(uid)
        try:
            async with self._at_once:
                clock = asyncio.get_running_loop().time
                began_at = clock()
                answer = await self._line(pod).ask(deadline_seconds)
                return Asked(answer=answer, seconds=clock() - began_at)
        finally:
            self._asking.discard(uid)

    def keep_only(self, uids: Collection[str]) -> None:
        """End the lines to all other pods, but for those that are being asked."""
        for uid in self._lines.keys() - uids - self._asking:
            self._lines.pop(uid).close()

    def close(self) -> None:
        """End all lines."""
        for line in self._lines.values():
            line.close()

    def _line(self, pod: Pod) -> Line[T]:
        uid, address = pod.metadata.uid, pod.status.pod_ip
        line = self._lines.get(uid)
        if line is None or line.address != address:
            if line is not None:
                line.close()
            line = self._lines[uid] = Line(address, self.port, self._decode)
        return line


def runs(pod: Pod) -> bool:
    """Return whether a pod has processes and an address."""
    return pod.status.phase == "Running" and bool(pod.status.pod_ip)


def is_unheard(failure: ScrapeFailed) -> bool:
    """Return whether nothing at all came back: the network or the pod is to blame, not what it said."""
    return failure.result in (Result.UNREACHABLE, Result.LATE)
