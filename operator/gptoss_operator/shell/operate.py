"""Puts the parts together and keeps them running until the process is told to end, or one of them dies."""

import asyncio
import logging
import resource
import secrets
import signal
import socket
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, Final

import kopf
from aiohttp import web

from gptoss_operator.api import names
from gptoss_operator.core.objects import Child, Node, Pod
from gptoss_operator.shell.bodies import Bodies
from gptoss_operator.shell.carry_out import Hands
from gptoss_operator.shell.cluster import Cluster
from gptoss_operator.shell.handlers import kopf_settings, registry_of
from gptoss_operator.shell.kube import Kube
from gptoss_operator.shell.lease import Lease
from gptoss_operator.shell.ledger import Ledger
from gptoss_operator.shell.observe import is_gateway, is_replica
from gptoss_operator.shell.pace import Pace
from gptoss_operator.shell.queue import WorkQueue
from gptoss_operator.shell.reconcile import Reconciler
from gptoss_operator.shell.reflect import Reflector
from gptoss_operator.shell.scrape import Scraper
from gptoss_operator.shell.settings import Settings
from gptoss_operator.shell.store import Key, Store, key_of
from gptoss_operator.shell.telemetry import Telemetry, http_application


STUCK_SECONDS: Final = 180.0
"""A reflector that has neither heard nor tried anything for this long will not come back by itself."""
ASKED_ALL_SECONDS: Final = 5.0
"""How long the first pass waits for the replicas' own words; they have two seconds each."""
STOP_SECONDS: Final = 5.0
"""How long the parts may take to end."""

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

logger = logging.getLogger(__name__)

AnyReflector = Reflector[Pod] | Reflector[Child] | Reflector[Node]


class Operator:
    """The parts of one operator process."""

    def __init__(self, settings: Settings, kube: Kube, telemetry: Telemetry) -> None:
        self.settings = settings
        self.telemetry = telemetry
        self.bodies = Bodies()
        self.ledger = Ledger()
        self.owners: Store[Child] = Store(self._owner_changed)
        self.cluster = Cluster(settings.namespaces, self._wake, self.bodies.users_of_secret)
        self.lease = _lease_of(settings, kube)
        hands = Hands(
            writer=kube,
            cluster=self.cluster,
            bodies=self.bodies,
            ledger=self.ledger,
            instance=socket.gethostname(),
            may_write=self.leads,
        )
        self.pace = Pace(self.bodies.get)
        self.scraper = Scraper(
            pods=lambda: (pod for pod in self.cluster.pods if is_replica(pod)),
            wake=self._wake,
            telemetry=telemetry,
            interval_seconds=settings.scrape_seconds,
            gateways=lambda: (pod for pod in self.cluster.pods if is_gateway(pod)),
            paced=self.pace,
            deployments=self.bodies.keys,
        )
        self.reconciler = Reconciler(
            hands=hands,
            options=settings.render_options,
            telemetry=telemetry,
            exists=self._exists,
            state_of=self.scraper.samples.fresh,
            hears_replicas=settings.scrape_seconds > 0,
            load_of=self.scraper.load,
            out_of_reach_since=self.scraper.reach.out_of_reach_since,
        )
        self.queue = WorkQueue(self.reconciler.reconcile_once)
        self.owner_reflectors = [
            Reflector(kube, names.KIND, Child, self.owners, namespace=scope) for scope in self.cluster.scopes
        ]
        self.reflectors: list[AnyReflector] = [*self.cluster.reflectors(kube), *self.owner_reflectors]
        telemetry.show_leader(self.leads)
        # In a process that waits for the Lease, all objects are in the queue, and none waits for this process.
        telemetry.watch(lambda: len(self.queue) if self.leads() else 0, self._watch_ages)

    def leads(self) -> bool:
        """Return whether this process may work now."""
        return self.lease is None or self.lease.held()

    def sick(self) -> str | None:
        """Return why the process should be started again, or None."""
        for reflector in self.reflectors:
            if reflector.last_activity_age_seconds > STUCK_SECONDS:
                return f"the watch of {reflector.kind} is stuck for {reflector.last_activity_age_seconds:.0f} s"
        late = self.bodies.late()
        return f"kopf's watch of {names.KIND} has gone silent: {late}" if late else None

    def not_ready(self) -> str | None:
        """Return what is still to be read before the first pass, or None.

        A process that waits for the Lease is ready: it can take over at once, and a rolling update waits for it.
        """
        missing = sorted({reflector.kind for reflector in self.reflectors if not reflector.synced.is_set()})
        if missing:
            return f"not listed yet: {', '.join(missing)}"
        if self.lease is not None and not self.lease.joined:
            return f"Lease {self.lease.name} is neither read nor claimed yet: the log says why"
        return None

    async def work(self) -> None:
        """Make passes, once everything has been listed: before, absent and unknown look the same.

        Only then is the Lease asked for: whoever holds it can work.
        """
        for reflector in self.reflectors:
            await reflector.synced.wait()
        logger.info("Everything is listed: %d objects, %d pods", len(self.owners), len(self.cluster.pods))
        if self.lease is None:
            await self._make_passes()
        else:
            await self.lease.lead(self._make_passes)

    async def _make_passes(self) -> None:
        """Ask the replicas and serve the queue, for ever."""
        async with asyncio.TaskGroup() as group:
            if self.settings.scrape_seconds:
                group.create_task(self.scraper.run())
                # What the operator before this one has said of the replicas is not taken back, only to be said again.
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.scraper.asked_all.wait(), ASKED_ALL_SECONDS)
            group.create_task(self.queue.run())
            group.create_task(self.queue.resync(self.bodies.keys, self.settings.resync_seconds))

    async def serve_kopf(self, ready: asyncio.Event) -> None:
        """Run kopf, once our resource is known to the API server. `ready` is set when kopf has started.

        kopf looks for resources only when it starts; one that is defined later it would never watch.
        """
        for reflector in self.owner_reflectors:
            await reflector.synced.wait()
        registry = registry_of(self.bodies, self._wake, self._gone)
        await kopf.operator(
            registry=registry,
            settings=kopf_settings(),
            standalone=True,
            clusterwide=not self.settings.namespaces,
            namespaces=self.settings.namespaces,
            ready_flag=ready,
        )

    def _wake(self, key: Key) -> None:
        if self.bodies.get(key) is not None:
            self.queue.add(key)

    def _gone(self, key: Key, uid: str) -> None:
        if self.bodies.forget(key, uid):
            self.queue.forget(key)
            self.ledger.forget(key)
            self.reconciler.forget(key)
            self.pace.forget(key)
            self.telemetry.forget(key)

    def _exists(self, key: Key, uid: str) -> bool:
        owner = self.owners.get(key)
        return owner is not None and owner.metadata.uid == uid

    def _owner_changed(self, before: Child | None, after: Child | None) -> None:
        """Our own watch of the users' objects notices what kopf has missed: a deletion, or silence."""
        if before is not None and (after is None or after.metadata.uid != before.metadata.uid):
            self._gone(key_of(before), before.metadata.uid)
        if after is not None:
            self.bodies.expect(after)
            self._wake(key_of(after))

    def _watch_ages(self) -> Iterable[tuple[str, float]]:
        return [(reflector.kind, reflector.last_event_age_seconds) for reflector in self.reflectors]


def _lease_of(settings: Settings, kube: Kube) -> Lease | None:
    """Return this process's part in the Lease; None where the settings name none.

    A pod whose container is started again keeps its host name, hence the random end: what an earlier process held is
    not this one's.
    """
    if not settings.lease_name:
        return None
    identity = f"{socket.gethostname()}_{secrets.token_hex(4)}"
    return Lease(kube, settings.lease_namespace, settings.lease_name, identity)


async def operate(settings: Settings) -> None:
    """Run the operator until SIGTERM or SIGINT. Raises what killed a part that should run for ever."""
    telemetry = Telemetry()
    _allow_many_connections()
    kube = await Kube.connect(telemetry.count_request)
    operator = Operator(settings, kube, telemetry)
    server = web.AppRunner(
        http_application(telemetry, operator.sick, operator.not_ready), access_log=None, shutdown_timeout=1.0
    )
    try:
        await server.setup()
        await web.TCPSite(server, settings.http_host, settings.http_port).start()
        await _run_until_told(operator)
    finally:
        await server.cleanup()
        await kube.close()


def _allow_many_connections() -> None:
    """Raise the soft limit of open files to the hard one: there is a connection to each replica, and it may be 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _run_until_told(operator: Operator) -> None:
    """Run all parts; return on a signal. kopf comes last: it takes every later task for one of its own."""
    told = asyncio.Event()
    kopf_ready = asyncio.Event()
    parts: list[tuple[str, Callable[[], Coroutine[Any, Any, None]]]] = [
        *((f"reflector of {reflector.kind}", reflector.run) for reflector in operator.reflectors),
        ("workers", operator.work),
        ("signal handler", lambda: _take_signals(kopf_ready, told)),
        ("kopf", lambda: operator.serve_kopf(kopf_ready)),
    ]
    tasks = [asyncio.create_task(run(), name=name) for name, run in parts]
    waiter = asyncio.create_task(told.wait(), name="signal")
    try:
        done, _ = await asyncio.wait([*tasks, waiter], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in [*tasks, waiter]:
            task.cancel()
        _, hanging = await asyncio.wait([*tasks, waiter], timeout=STOP_SECONDS)
        for task in hanging:
            logger.error("The %s did not end within %.0f s", task.get_name(), STOP_SECONDS)
    for task in done - {waiter}:
        task.result()  # Raises what it died of.
        raise RuntimeError(f"the {task.get_name()} ended, but should run for ever")


async def _take_signals(kopf_ready: asyncio.Event, told: asyncio.Event) -> None:
    """Set `told` on SIGTERM or SIGINT. Never ends.

    Taken at once, since the first process of a container ignores what it has no handler for; and again from kopf, which
    takes them when it starts, and would wait for our parts to end by themselves.
    """
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, told.set)
    await kopf_ready.wait()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, told.set)
    await asyncio.Event().wait()
