"""A proxy between the operator and the API server that strikes at one chosen write, and nowhere else."""

import asyncio
import base64
import ctypes
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web

from e2e.cluster.provider import Cluster
from tests.integration.tls import let_connections_end


WRITES = frozenset({"POST", "PATCH", "PUT", "DELETE"})
HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "content-length", "content-encoding", "host"})
STOP_SECONDS = 10
CLONE_NEWNET = 0x40000000
"""Of setns(2): the file is a network namespace."""


@dataclass
class Strike:
    """Which write is struck, and how."""

    at: int = 0
    """Number of the write, from 1. Zero: none."""
    before: bool = False
    """Strike instead of forwarding it; else after the API server has done it, instead of answering."""
    act: Callable[[], None] = lambda: None
    """What to do: kill the operator."""
    after: Callable[[str, bytes], bool] = lambda _write, _answer: False
    """Strike as well after a write for which this holds, by `METHOD path` and what the API server answers."""
    writes: list[str] = field(default_factory=list)
    """Every write that came, as `METHOD path`."""


@contextmanager
def proxied(cluster: Cluster, directory: Path, strike: Strike, *, inside: bool = False) -> Iterator[Path]:
    """Yield a kubeconfig whose server is the proxy; the proxy ends with the block.

    `inside`: for an operator in the cluster's own network.
    """
    source = yaml.safe_load(Path(cluster.kubeconfig).read_text())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    proxy = _Proxy(source, directory, strike)
    listener = _listening(cluster.network if inside else None)
    port = asyncio.run_coroutine_threadsafe(proxy.start(listener), loop).result(STOP_SECONDS)
    kubeconfig = directory / "proxied.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(_plain(port)))
    try:
        yield kubeconfig
    finally:
        asyncio.run_coroutine_threadsafe(proxy.stop(), loop).result(STOP_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(STOP_SECONDS)
        loop.close()


class _Proxy:
    def __init__(self, kubeconfig: dict[str, list[dict[str, dict[str, str]]]], directory: Path, strike: Strike) -> None:
        self.server = kubeconfig["clusters"][0]["cluster"]["server"]
        self.tls = _client_tls(kubeconfig, directory)
        self.strike = strike

    async def start(self, listener: socket.socket) -> int:
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self.tls, limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self.handle)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self.runner.setup()
        site = web.SockSite(self.runner, listener)
        await site.start()
        port: int = self.runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        await self.runner.cleanup()
        await self.session.close()
        await let_connections_end()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        number = 0
        if request.method in WRITES:
            self.strike.writes.append(f"{request.method} {request.path}")
            number = len(self.strike.writes)
        hit = number and number == self.strike.at
        if hit and self.strike.before:
            return self.hit(request)
        # An empty body would get a content type, which the API server refuses.
        body = await request.read() or None
        async with self.session.request(
            request.method, f"{self.server}{request.raw_path}", headers=_kept(request.headers), data=body
        ) as answer:
            if number:
                text = await answer.read()
                if hit or self.strike.after(self.strike.writes[number - 1], text):
                    return self.hit(request)
                return web.Response(status=answer.status, headers=_kept(answer.headers), body=text)
            response = web.StreamResponse(status=answer.status, headers=_kept(answer.headers))
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    def hit(self, request: web.Request) -> web.StreamResponse:
        self.strike.act()
        if request.transport:
            request.transport.abort()
        return web.Response(status=503)


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}


def _listening(network: str | None) -> socket.socket:
    """Return a socket on a port of the loopback address in a network namespace; None: in the one of this process.

    A thread can be in another one, and a socket stays where it was made.
    """
    made: list[socket.socket] = []

    def make() -> None:
        if network is not None:
            descriptor = os.open(network, os.O_RDONLY)
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter {network}")
            os.close(descriptor)
        made.append(socket.create_server(("127.0.0.1", 0)))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


def _plain(port: int) -> dict[str, object]:
    """Return a kubeconfig without credentials for the proxy, which has them."""
    name = "proxied"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": name, "user": {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def _client_tls(kubeconfig: dict[str, list[dict[str, dict[str, str]]]], directory: Path) -> ssl.SSLContext:
    """Return TLS with the credentials of the kubeconfig, which are files or base64."""

    def file_of(entry: dict[str, str], key: str) -> str:
        if key in entry:
            return entry[key]
        path = directory / key
        path.write_bytes(base64.b64decode(entry[f"{key}-data"]))
        return str(path)

    user, server = kubeconfig["users"][0]["user"], kubeconfig["clusters"][0]["cluster"]
    context = ssl.create_default_context(cafile=file_of(server, "certificate-authority"))
    context.load_cert_chain(file_of(user, "client-certificate"), file_of(user, "client-key"))
    return context
