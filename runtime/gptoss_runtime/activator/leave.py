"""The preStop hook of the HAProxy container."""

import asyncio
import logging

from aiohttp import web

from gptoss_runtime.activator.haproxy.runtime_api import RuntimeApi, RuntimeApiError


log = logging.getLogger("gptoss_runtime.activator")


def leave_route(runtime: RuntimeApi, leave_seconds: float) -> web.RouteDef:
    """Return `/leave`, the preStop hook of the HAProxy container.

    From then on HAProxy closes each connection after its answer, so that clients come back to another gateway. It
    answers when new connections have stopped coming: after `leave_seconds`, whether or not HAProxy could be told.
    """

    async def leave(_: web.Request) -> web.Response:
        log.info("Leaving: HAProxy closes connections after their answers, and ends in %g s", leave_seconds)
        try:
            await runtime.order("experimental-mode on; set var proc.leaving bool(true)")
        except RuntimeApiError as error:
            log.warning("HAProxy cannot be told to close connections: %s", error)
        await asyncio.sleep(leave_seconds)
        return web.Response(text="left\n")

    return web.get("/leave", leave)
