"""Stands for HAProxy where a test must choose what it says: its statistics, and what its inner socket answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADER = "# pxname,svname,qcur,scur,slim,status,weight,addr,"


class FakeHaproxy:
    """Its sockets are `haproxy.sock` and `inner.sock` in one directory."""

    def __init__(self) -> None:
        self.rows = ["replicas,replica1,0,0,8,DOWN,100,127.0.0.1:8000,"]
        self.queued = 0
        self.commands: list[str] = []
        self.handler: Handler = self._unavailable
        self.inner_requests: list[web.Request] = []

    def replica_is(self, status: str) -> None:
        """Let one replica be `UP`, `DOWN` or `DRAIN`."""
        self.rows = [f"replicas,replica1,0,0,8,{status},100,127.0.0.1:8000,"]

    def answer_stat(self) -> str:
        """Return what `show stat` prints."""
        return "\n".join([HEADER, *self.rows, f"replicas,BACKEND,{self.queued},0,100,UP,100,,", "", ""])

    async def _unavailable(self, _: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    async def inner(self, request: web.Request) -> web.StreamResponse:
        """Answer at the inner socket."""
        self.inner_requests.append(request)
        await request.read()
        return await self.handler(request)

    async def command(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one command of the runtime API."""
        command = (await reader.readline()).decode().strip()
        self.commands.append(command)
        if command.startswith("show stat"):
            writer.write(self.answer_stat().encode())
        else:
            writer.write(b"\n")
        writer.close()


@asynccontextmanager
async def fake_haproxy(run: Path) -> AsyncIterator[FakeHaproxy]:
    """Listen on the sockets in `run`."""
    fake = FakeHaproxy()
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", fake.inner)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(run / "inner.sock")).start()
    server = await asyncio.start_unix_server(fake.command, run / "haproxy.sock")
    try:
        yield fake
    finally:
        server.close()
        await runner.cleanup()
