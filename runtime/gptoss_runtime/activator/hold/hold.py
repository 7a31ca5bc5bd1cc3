"""Requests that wait until a replica is ready: who waits, who goes on when, who has waited too long."""

import asyncio
import heapq
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from gptoss_runtime.activator.haproxy.runtime_api import RuntimeApi, RuntimeApiError
from gptoss_runtime.activator.haproxy.servers import Replicas
from gptoss_runtime.activator.hold.cold_start import Outlook
from gptoss_runtime.activator.hold.refusal import Refusal, hold_full, hold_timeout
from gptoss_runtime.activator.hold.release import how_many
from gptoss_runtime.gateway_contract import GatewayOrders


POLL_SECONDS = 0.25
"""How often HAProxy is asked for a ready replica while requests wait, beside its own news."""
IDLE_SECONDS = 1.0
"""How often HAProxy is asked while none waits here: some may wait in its queue for replicas that have just died."""
DRAIN_SECONDS = 0.01
"""How often it is asked while requests go on."""
FULL_SECONDS = 0.05
"""How often it is asked while replicas are ready and full: the reserve in HAProxy's queue lasts longer."""
REMEMBERED_RELEASES = 4096
"""Released requests whose age is kept, in case they come back."""

log = logging.getLogger("gptoss_runtime.activator")


class Waiting(Protocol):
    """A request that waits."""

    id: str
    """Its x-request-id; empty if it has none."""

    def go_on(self) -> None:
        """Send it to a replica."""

    def refuse(self, refusal: Refusal) -> None:
        """Tell its client that it cannot go on."""


class Hold:
    """The requests that wait, each with the time since when."""

    def __init__(self, orders: GatewayOrders, runtime: RuntimeApi, outlook: Callable[[], Outlook]) -> None:
        self.outlook = outlook
        """When a replica will be ready."""
        self._most = orders.hold_max_requests
        self._longest_seconds = orders.hold_max_wait_seconds
        self._runtime = runtime
        self._since: dict[Waiting, float] = {}
        self._released: dict[str, float] = {}
        self._total = 0
        self._wake = asyncio.Event()
        self._failing = False
        self._draining = False

    @property
    def count(self) -> int:
        """Requests that wait now."""
        return len(self._since)

    @property
    def total(self) -> int:
        """Requests that ever had to wait."""
        return self._total

    def oldest_seconds(self) -> float:
        """Return how long the oldest has waited; zero if none waits."""
        return _now() - min(self._since.values(), default=_now())

    def admit(self, waiting: Waiting) -> None:
        """Let a request wait, or refuse it at once where there is no more room.

        One that went on and found no replica after all keeps its age.
        """
        since = self._released.pop(waiting.id, None)
        if since is None:
            if len(self._since) >= self._most:
                waiting.refuse(hold_full(self._most, self.outlook().seconds))
                return
            self._total += 1
        if not self._since:
            # The first may be here because of a race with a replica that is ready: look now.
            self._wake.set()
        self._since[waiting] = _now() if since is None else since

    def forget(self, waiting: Waiting) -> None:
        """Forget a request, if it still waits: its client has left."""
        self._since.pop(waiting, None)

    def replica_came_up(self) -> None:
        """Look now whether requests may go on: HAProxy said that a replica is ready."""
        self._wake.set()

    async def run(self) -> None:
        """Let requests go on when they may, and refuse those that have waited too long, until cancelled."""
        while True:
            self._wake.clear()
            self._expire()
            replicas = await self._look()
            if replicas is not None and self._since and replicas.up():
                await asyncio.sleep(DRAIN_SECONDS if self._let_go(replicas) else FULL_SECONDS)
                continue
            self._draining = False
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS if self._since else IDLE_SECONDS):
                    await self._wake.wait()

    async def _look(self) -> Replicas | None:
        try:
            replicas = await self._runtime.replicas()
            if replicas.backend.queued and not replicas.up():
                log.info(
                    "%d requests wait in HAProxy for replicas that are gone: holding them", replicas.backend.queued
                )
                await self._runtime.move_queue_to_activator()
        except RuntimeApiError as error:
            if not self._failing:
                # Before HAProxy has started this is as it should be.
                log.log(logging.WARNING if self._since else logging.DEBUG, "Cannot look at the replicas: %s", error)
            self._failing = bool(self._since)
            return None
        self._failing = False
        return replicas

    def _let_go(self, replicas: Replicas) -> int:
        """Let go on who may, the oldest first. Return how many those are."""
        release = how_many(len(self._since), replicas)
        chosen = heapq.nsmallest(release.count, self._since, key=self._since.__getitem__)
        for waiting in chosen:
            self._remember(waiting.id, self._since[waiting])
            self.forget(waiting)
            waiting.go_on()
        if chosen:
            # The first of many such decisions tells it all.
            level = logging.DEBUG if self._draining else logging.INFO
            log.log(level, "%d of %d held requests go on: %s", len(chosen), len(chosen) + self.count, release.reason)
            self._draining = True
        return len(chosen)

    def _expire(self) -> None:
        now = _now()
        late = [waiting for waiting, since in self._since.items() if now - since >= self._longest_seconds]
        for waiting in late:
            self.forget(waiting)
            waiting.refuse(hold_timeout(self._longest_seconds, self.outlook().seconds))

    def _remember(self, request_id: str, since: float) -> None:
        if not request_id:
            return
        self._released[request_id] = since
        while len(self._released) > REMEMBERED_RELEASES:
            del self._released[next(iter(self._released))]


def _now() -> float:
    return asyncio.get_running_loop().time()
