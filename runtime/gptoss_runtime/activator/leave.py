"""The preStop hook of the HAProxy container: it lasts until the last request has ended.

HAProxy is to be stopped only then. Its soft stop lets requests end too, but from that moment on it neither sends its
log, nor checks the replicas, nor answers its runtime API: what is held or queued would never learn that a replica is
ready, and no request that ends would be in the log or in the metrics.
"""

import asyncio
import csv
import logging

from aiohttp import web

from gptoss_runtime.activator.haproxy.runtime_api import RuntimeApi, RuntimeApiError
from gptoss_runtime.activator.haproxy.servers import UnreadableStat
from gptoss_runtime.gateway_contract import LEAVING, GatewayOrders, Section


CLOSE_CONNECTIONS = f"experimental-mode on; set var {LEAVING} bool(true)"
REFUSE_CONNECTIONS = f"shutdown frontend {Section.CLIENTS}"
"""A soft stop of the door alone. It tells clients that speak HTTP/2 to go; `disable` tells them nothing."""
SHOW_BACKENDS = "show stat -1 2 -1"
LOOK_SECONDS = 0.25
"""How often it is looked whether requests are left. The last line of the log has as long to arrive."""
log = logging.getLogger("gptoss_runtime.activator")


def leave_route(runtime: RuntimeApi, orders: GatewayOrders) -> web.RouteDef:
    """Return the preStop hook.

    From then on HAProxy closes each connection after its answer, so that clients come back to another gateway. After
    `leave_seconds`, when no node sends anything new here, it refuses connections. The answer comes when no request is
    left, after `drain_seconds`, or when HAProxy cannot be asked.
    """

    async def leave(_: web.Request) -> web.Response:
        log.info(
            "Leaving: HAProxy closes connections after their answers, and takes none after %g s", orders.leave_seconds
        )
        await _tell(runtime, CLOSE_CONNECTIONS)
        await asyncio.sleep(orders.leave_seconds)
        await _tell(runtime, REFUSE_CONNECTIONS)
        log.info("Left: %s", await _wait_for_the_last(runtime, orders.drain_seconds))
        return web.Response(text="left\n")

    return web.get(orders.leave_path, leave)


def has_requests(text: str) -> bool:
    """Return whether any backend has a request, running, queued or held, by the answer to `SHOW_BACKENDS`.

    Raises UnreadableStat.
    """
    rows = csv.DictReader(text.removeprefix("# ").strip().splitlines())
    try:
        counts = [int(row["scur"]) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableStat(f"HAProxy's statistics of its backends cannot be read: {error!r}") from error
    if not counts:
        raise UnreadableStat("HAProxy's statistics name no backend")
    return any(counts)


async def _tell(runtime: RuntimeApi, command: str) -> None:
    try:
        await runtime.order(command)
    except RuntimeApiError as error:
        log.warning("HAProxy cannot be told that the gateway leaves: %s", error)


async def _wait_for_the_last(runtime: RuntimeApi, drain_seconds: float) -> str:
    """Wait until no request is left, and return why it waits no longer."""
    try:
        async with asyncio.timeout(drain_seconds):
            while True:
                waiting = has_requests(await runtime.ask(SHOW_BACKENDS))
                await asyncio.sleep(LOOK_SECONDS)
                if not waiting:
                    return "no request is left"
    except TimeoutError:
        return f"requests are left after {drain_seconds:g} s"
    except (RuntimeApiError, UnreadableStat) as error:
        return f"whether requests are left is not known: {error}"
