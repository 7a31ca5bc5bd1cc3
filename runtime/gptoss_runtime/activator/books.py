"""Keys, limits, log and metrics, put together."""

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from gptoss_runtime.activator.background import background
from gptoss_runtime.activator.haproxy.maps import Maps
from gptoss_runtime.activator.haproxy.runtime_api import RuntimeApi, RuntimeApiError
from gptoss_runtime.activator.haproxy.servers import Replicas
from gptoss_runtime.activator.haproxy.tls import Certificate
from gptoss_runtime.activator.hold.hold import Hold
from gptoss_runtime.activator.records.ledger import Ledger
from gptoss_runtime.activator.records.log import reading_log
from gptoss_runtime.activator.records.output import Output
from gptoss_runtime.activator.records.record import usual_of
from gptoss_runtime.activator.records.state import StateWriter
from gptoss_runtime.activator.records.telemetry import Held, Telemetry
from gptoss_runtime.activator.settings import Settings
from gptoss_runtime.activator.tenants.access import Access
from gptoss_runtime.activator.tenants.peers import Peers
from gptoss_runtime.activator.tenants.quotas import Quotas, find_gateways, has_limits
from gptoss_runtime.activator.tenants.usage_port import UsagePort, usage_port
from gptoss_runtime.gateway_contract import GatewayOrders, Socket


SETTLE_SECONDS = 0.25
"""How often it is looked whether a line has waited long enough for its tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What others need of this."""

    telemetry: Telemetry
    routes: Sequence[web.RouteDef]
    """`/state` and `/metrics`."""


@asynccontextmanager
async def keeping_books(
    orders: GatewayOrders, settings: Settings, runtime: RuntimeApi, hold: Hold
) -> AsyncIterator[Books]:
    """Keep keys, limits, log and metrics while the block runs. HAProxy's maps are written when it begins.

    Raises OSError where a socket cannot be listened on, or a map cannot be written.
    """
    telemetry = Telemetry()
    maps = Maps(settings.run_directory, runtime)
    peers = Peers(uuid.uuid4().hex)
    quotas = Quotas(maps, runtime, peers)
    loops = [maps.keep()]
    if orders.has_keys:
        access = Access(settings.keys_directory, orders.tiers, maps=maps, quotas=quotas, counts=telemetry.counts)
        access.look()
        loops.append(access.keep())
    maps.write_missing()
    if orders.has_tls:
        loops.append(Certificate(settings.tls_directory, runtime).keep())

    output = Output(sys.stdout.fileno())
    ledger = Ledger(
        telemetry=telemetry,
        write=output.write,
        replica_came_up=hold.replica_came_up,
        count_tokens=quotas.count_tokens,
        usual=usual_of(orders),
    )
    try:
        async with (
            usage_port(
                settings.address,
                settings.usage_port,
                on_usage=ledger.reported,
                on_peer=lambda report, address: peers.heard(report, address, time.monotonic()),
                on_bad=telemetry.count_bad_datagram,
                on_read=ledger.flush,
            ) as port,
            reading_log(settings.run_directory / Socket.LOG, ledger, lambda: hold.count > 0),
            background(*loops, *_sharing(orders, quotas, peers, port), _settling(ledger)),
        ):
            yield Books(telemetry=telemetry, routes=_routes(ledger, telemetry, runtime, hold))
    finally:
        ledger.finish()
        output.close()


def _sharing(
    orders: GatewayOrders, quotas: Quotas, peers: Peers, port: UsagePort
) -> Iterator[Coroutine[None, None, None]]:
    """Yield the loops that keep the tenants' limits; none where no tier has any."""
    if orders.has_keys and any(map(has_limits, orders.tiers)):
        yield quotas.keep(port)
        if orders.peers:
            yield find_gateways(peers, orders.peers)


async def _settling(ledger: Ledger) -> None:
    while True:
        await asyncio.sleep(SETTLE_SECONDS)
        ledger.settle()


def _routes(ledger: Ledger, telemetry: Telemetry, runtime: RuntimeApi, hold: Hold) -> list[web.RouteDef]:
    """Return what is read from outside."""
    writer = StateWriter(start_id=uuid.uuid4().hex, started=time.monotonic())

    async def state(_: web.Request) -> web.Response:
        replicas = await _replicas(runtime)
        document = writer.state(ledger.totals, _held(hold), replicas, time.monotonic(), ttft_ms=telemetry.ttft_ms())
        return web.Response(text=document.encode(), content_type="application/json")

    async def metrics(_: web.Request) -> web.Response:
        telemetry.now(await _replicas(runtime), _held(hold))
        # In a thread: a thousand tenants have many series, and what is held must not wait for them.
        text = await asyncio.to_thread(generate_latest, telemetry.registry)
        return web.Response(body=text, headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})

    return [web.get("/state", state), web.get("/metrics", metrics)]


async def _replicas(runtime: RuntimeApi) -> Replicas | None:
    """Return what HAProxy knows of the replicas; None while it does not answer, as before its start."""
    try:
        return await runtime.replicas()
    except RuntimeApiError:
        return None


def _held(hold: Hold) -> Held:
    return Held(now=hold.count, total=hold.total, oldest_seconds=max(hold.oldest_seconds(), 0.0))
