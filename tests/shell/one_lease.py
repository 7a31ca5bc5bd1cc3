"""One Lease as an API server keeps it, calls that are late or lost, and processes that share it in virtual time."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field

from gptoss_operator.core.observation import Manifest
from gptoss_operator.errors import Conflict, NotFound, Unavailable
from gptoss_operator.shell.claim import record_of
from gptoss_operator.shell.lease import Lease


@dataclass
class Trip:
    """What becomes of one call on its way."""

    out_seconds: float = 0.0
    back_seconds: float = 0.0
    lost: str = ""
    """The question or the answer, or neither."""


@dataclass
class Shelf:
    """Keeps one Lease as an API server does: with versions, and no update of an old one."""

    lease: Manifest | None = None
    trips: Iterator[Trip] = field(default_factory=lambda: itertools.repeat(Trip()))
    refusal: Exception | None = None
    calls: list[str] = field(default_factory=list)
    versions: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    processes: list["Process"] = field(default_factory=list)
    """All that have asked."""

    async def get(self, kind: str, namespace: str, name: str) -> Manifest:
        assert (kind, namespace, name) == ("Lease", "ns", "name")
        return await self._travel("get", self._get)

    async def create(self, manifest: Manifest) -> Manifest:
        return await self._travel("create", lambda: self._create(manifest))

    async def replace(self, manifest: Manifest) -> Manifest:
        return await self._travel("replace", lambda: self._replace(manifest))

    @property
    def holder(self) -> str:
        return record_of(self.lease).holder if self.lease else ""

    async def _travel(self, what: str, answer: Callable[[], Manifest]) -> Manifest:
        trip = next(self.trips)
        self.calls.append(what)
        await asyncio.sleep(trip.out_seconds)
        if self.refusal:
            raise self.refusal
        if trip.lost == "question":
            raise Unavailable("the question is lost")
        done = answer()
        await asyncio.sleep(trip.back_seconds)
        if trip.lost == "answer":
            raise Unavailable("the answer is lost")
        return done

    def _get(self) -> Manifest:
        if self.lease is None:
            raise NotFound("no such Lease")
        return deepcopy(self.lease)

    def _create(self, manifest: Manifest) -> Manifest:
        if self.lease is not None:
            raise Conflict("it exists")
        return self._put(manifest)

    def _replace(self, manifest: Manifest) -> Manifest:
        if self._get()["metadata"]["resourceVersion"] != manifest["metadata"]["resourceVersion"]:
            raise Conflict("it has changed")
        return self._put(manifest)

    def _put(self, manifest: Manifest) -> Manifest:
        self.lease = deepcopy(manifest)
        self.lease["metadata"]["resourceVersion"] = str(next(self.versions))
        return deepcopy(self.lease)


class Process:
    """One operator: its clock, and when it did its work."""

    def __init__(self, shelf: Shelf, name: str, offset: float = 0.0) -> None:
        self.shelf = shelf
        shelf.processes.append(self)
        loop = asyncio.get_running_loop()
        self.lease = Lease(shelf, "ns", "name", name, clock=lambda: loop.time() + offset)
        self.worked_at: list[float] = []
        self.task = asyncio.create_task(self.lease.lead(self._work))

    async def _work(self) -> None:
        while True:
            if self.lease.held():
                assert [process for process in self.shelf.processes if process.lease.held()] == [self]
                self.worked_at.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.25)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


@asynccontextmanager
async def processes(shelf: Shelf, *names: str) -> AsyncIterator[list[Process]]:
    started = [Process(shelf, name) for name in names]
    try:
        yield started
    finally:
        for process in started:
            await process.stop()
