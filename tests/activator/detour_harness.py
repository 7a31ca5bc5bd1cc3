"""A detour over real sockets, with stand-ins for what is around it: HAProxy's inner frontend and a moderation model."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry
from yarl import URL

from gptoss_runtime.activator.detour.server import serve_detour
from gptoss_runtime.activator.forward import Forwarder
from gptoss_runtime.gateway_contract import ContentFilter, GatewayOrders, Header, Socket


CHAT = "/v1/chat/completions"
CHAT_URL = f"http://gateway{CHAT}"
PATIENCE_SECONDS = 30.0
FORBIDDEN = "forbidden"
"""The stand-in for a moderation model refuses texts with this word."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def a_request(content: str = "2+2?", **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - a JSON value
    return {"model": "m", "messages": [{"role": "user", "content": content}], "temperature": 0, **changes}


def a_completion(content: str, number: int = 1) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }


def an_event(content: str, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish_reason}
    document = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(document)}\n\n".encode()


DONE = b"data: [DONE]\n\n"


@dataclass
class Replica:
    """Answers by the inner socket: each time anew, so that an answer of the cache is told from one of a replica."""

    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answer: Handler | None = None
    """What it does instead of its usual answer."""
    says: str = "four"
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a request was broken off."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append((request.raw_path, headers, body))
        try:
            return await (self.answer or self._usual)(request)
        except asyncio.CancelledError:
            self.left.set()
            raise

    async def _usual(self, request: web.Request) -> web.StreamResponse:
        headers: dict[str, str] = {Header.REPLICA: "10.0.0.1", Header.REQUEST_ID: "of-a-replica"}
        if not json.loads(await request.read()).get("stream"):
            return web.json_response(a_completion(self.says, len(self.asked)), headers=headers)
        response = await begin_stream(request, **headers)
        for piece in (f"{len(self.asked)}:", self.says[:2], self.says[2:]):
            await response.write(an_event(piece))
        await response.write(an_event("", "stop") + DONE)
        return response


async def begin_stream(request: web.Request, **headers: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8", **headers})
    await response.prepare(request)
    return response


@dataclass
class Judge:
    """A moderation model."""

    port: int = 0
    asked: list[tuple[str | None, dict[str, Any]]] = field(default_factory=list)
    """The key and the body of each question."""
    answer: Handler | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        question = await request.json()
        self.asked.append((request.headers.get("authorization"), question))
        if self.answer is not None:
            return await self.answer(request)
        return web.json_response(a_completion("1" if FORBIDDEN in question["messages"][1]["content"] else "0"))


@dataclass
class Gateway:
    """A running detour, and a client of it in HAProxy's place."""

    replica: Replica
    judge: Judge
    client: aiohttp.ClientSession
    socket: Path
    registry: CollectorRegistry

    async def ask(self, document: object, *, path: str = CHAT, **headers: str) -> "Told":
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        async with self.client.post(URL(f"http://gateway{path}", encoded=True), data=body, headers=named) as response:
            return Told(response.status, dict(response.headers), await response.read())

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@dataclass(frozen=True)
class Told:
    """What the client was told."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def cache(self) -> str | None:
        return self.headers.get(Header.CACHE)

    def json(self) -> Any:  # noqa: ANN401 - a JSON value
        return json.loads(self.body)

    def error(self) -> tuple[int, str, str, str | None]:
        error = self.json()["error"]
        assert error["message"]
        assert self.headers[Header.CODE] == error["code"]
        return self.status, error["type"], error["code"], error["param"]


def filter_orders(*, judge_port: int = 0, **changes: Any) -> ContentFilter:  # noqa: ANN401 - any field
    base: dict[str, Any] = {
        "url": f"http://127.0.0.1:{judge_port}/v1/",
        "model": "safeguard",
        "policy": "Say 0 if it is allowed, or else 1.",
        "before": True,
        "after": False,
        "refuse_on_failure": True,
        "timeout_seconds": PATIENCE_SECONDS,
    }
    return ContentFilter(**{**base, **changes})


@asynccontextmanager
async def detour(
    scratch: Path,
    *,
    cache_bytes: int = 0,
    heartbeat_seconds: float = 10.0,
    **content_filter: Any,  # noqa: ANN401
) -> AsyncIterator[Gateway]:
    """Serve a detour: with a cache where it has bytes, and a filter where any of its fields is given."""
    replica, judge, registry = Replica(), Judge(), CollectorRegistry()
    inner, socket = scratch / Socket.INNER, scratch / Socket.DETOUR
    async with (
        _serving(replica.handle, lambda runner: web.UnixSite(runner, str(inner))),
        _serving(judge.handle, lambda runner: web.TCPSite(runner, "127.0.0.1", 0)) as runner,
        Forwarder(inner) as forwarder,
    ):
        judge.port = runner.addresses[0][1]
        orders = GatewayOrders(
            deployment="chat",
            namespace="default",
            model_names=("m",),
            cache_bytes=cache_bytes,
            heartbeat_seconds=heartbeat_seconds,
            content_filter=filter_orders(**{"judge_port": judge.port, **content_filter}) if content_filter else None,
        )
        async with (
            serve_detour(orders, socket=socket, filter_directory=scratch, forwarder=forwarder, registry=registry),
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(socket)),
                timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS),
            ) as client,
        ):
            yield Gateway(replica, judge, client, socket, registry)


@asynccontextmanager
async def _serving(handler: Handler, site: Callable[[web.AppRunner], web.BaseSite]) -> AsyncIterator[web.AppRunner]:
    app = web.Application(client_max_size=2**25)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await site(runner).start()
        yield runner
    finally:
        await runner.cleanup()
