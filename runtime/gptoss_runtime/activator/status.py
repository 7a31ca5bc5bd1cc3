"""The activator's own port: probes, and what other parts put there."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def serve_status(routes: Sequence[web.RouteDef], *, address: str | None, port: int) -> AsyncIterator[None]:
    """Answer on the port while the block runs. `/healthz` is among the answers, and good from the start.

    So it must be entered last: when it answers, all sockets listen, and HAProxy's maps are written. Raises OSError
    when the port is taken.
    """
    app = web.Application()
    app.add_routes([web.get("/healthz", _healthz), *routes])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host=address, port=port).start()
        yield
    finally:
        await runner.cleanup()


async def _healthz(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")
