"""Puts the activator's parts together, in one event loop."""

import asyncio
import logging
import resource
import signal
from contextlib import AsyncExitStack

from gptoss_runtime.activator.background import background
from gptoss_runtime.activator.books import keeping_books
from gptoss_runtime.activator.detour.server import serve_detour
from gptoss_runtime.activator.forward import Forwarder
from gptoss_runtime.activator.haproxy.runtime_api import RuntimeApi
from gptoss_runtime.activator.hold.cold_start_watch import ColdStartWatch
from gptoss_runtime.activator.hold.hold import Hold
from gptoss_runtime.activator.hold.server import HoldServer, serve_hold
from gptoss_runtime.activator.leave import leave_route
from gptoss_runtime.activator.settings import Settings
from gptoss_runtime.activator.status import serve_status
from gptoss_runtime.gateway_contract import GatewayOrders, Socket


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger("gptoss_runtime.activator")


async def run(orders: GatewayOrders, settings: Settings) -> None:
    """Run until SIGTERM. Raises OSError where a socket cannot be listened on.

    In a pod the signal comes after HAProxy has ended, since this is its native sidecar; so nothing is held any more.
    Where it comes earlier, what is held goes on to its end, and nothing new is taken.
    """
    stopping = _stop_signal()
    _allow_many_connections()
    async with AsyncExitStack() as parts:
        runtime = RuntimeApi(settings.run_directory / Socket.RUNTIME)
        forwarder = await parts.enter_async_context(Forwarder(settings.run_directory / Socket.INNER))

        cold_start = ColdStartWatch(runtime, health_port=settings.replica_health_port)
        hold = Hold(orders, runtime, cold_start.outlook)
        await parts.enter_async_context(background(hold.run(), cold_start.run(lambda: hold.count > 0)))
        hold_server = HoldServer(orders, hold, forwarder)
        listening = await parts.enter_async_context(serve_hold(hold_server, settings.run_directory / Socket.HOLD))

        books = await parts.enter_async_context(keeping_books(orders, settings, runtime, hold))

        detour = serve_detour(
            orders,
            socket=settings.run_directory / Socket.DETOUR,
            filter_directory=settings.filter_directory,
            forwarder=forwarder,
            registry=books.telemetry.registry,
        )
        await parts.enter_async_context(detour)

        # Last: once it answers, all of the above is there.
        routes = [leave_route(runtime, orders), *books.routes]
        await parts.enter_async_context(serve_status(routes, address=settings.address, port=settings.activator_port))
        log.info("Ready for %s/%s", orders.namespace, orders.deployment)
        await stopping.wait()
        listening.close()
        await hold_server.ended()


def _stop_signal() -> asyncio.Event:
    stopping = asyncio.Event()
    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    # Blocked since the program began, so that none was lost while it was being imported.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    return stopping


def _allow_many_connections() -> None:
    """Raise the limit of open files to what the container may have: each held request is a connection."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
