"""The way of requests that the cache or the content filter must see.

The order: judge the request, look into the cache, ask a replica, judge the answer, keep it.
"""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry

from gptoss_runtime.activator.detour.asking import Asker, objection_response
from gptoss_runtime.activator.detour.cache import AnswerCache, judge_request
from gptoss_runtime.activator.detour.cache_metrics import CacheMetrics, CacheResult
from gptoss_runtime.activator.detour.content_filter import MAX_ANSWER_BYTES, Filter
from gptoss_runtime.activator.detour.flights import Flights
from gptoss_runtime.activator.detour.moderation import Moderator
from gptoss_runtime.activator.detour.words import read_object
from gptoss_runtime.activator.forward import Forwarder, Request, kept_headers
from gptoss_runtime.activator.hold.server import BACKLOG, SOCKET_MODE
from gptoss_runtime.gateway_contract import ANONYMOUS, GatewayOrders, Header


WAIT_FOR_EQUAL_SECONDS = 30.0
"""How long a request waits for an equal one that is under way."""
BODY_MARGIN_BYTES = 65536
"""HAProxy has checked the size already."""
MAX_HEADER_BYTES = 262144
"""More than any of HAProxy's buffers here holds."""
FINISH_SECONDS = 3600.0
"""How long answers under way may take when the activator is to stop; kubelet's patience ends earlier. Those of an
HAProxy that is gone end at once."""


class CachedAnswers:
    """Answers from the cache, and where it has none, those of replicas."""

    def __init__(self, asker: Asker, cache: AnswerCache, registry: CollectorRegistry) -> None:
        self._asker = asker
        self._cache = cache
        self._keep_bytes = min(cache.largest_bytes, MAX_ANSWER_BYTES)
        self._flights = Flights(wait_seconds=WAIT_FOR_EQUAL_SECONDS)
        self._metrics = CacheMetrics(cache)
        self._metrics.register(registry)

    async def answer(self, request: web.Request, asked: Request, document: dict[str, Any] | None) -> web.StreamResponse:
        """Answer a request whose body is `document`."""
        lookup = judge_request(
            method=asked.method,
            target=asked.path,
            headers=dict(asked.headers),
            tenant=asked.header(Header.TENANT) or ANONYMOUS,
            document=document,
        )
        if lookup.key is None or document is None:
            self._metrics.count(CacheResult.BYPASS)
            response, _ = await self._asker.ask(request, asked, added=_header(CacheResult.BYPASS), keep_bytes=0)
            return response
        if not document.get("stream"):
            # A stream's client wants its first token soon; it does not wait for the last of another.
            await self._flights.wait(lookup.key)
        kept = self._cache.get(lookup.key)
        if kept is None:
            return await self._ask(request, asked, lookup.key)
        self._metrics.count(CacheResult.HIT)
        return web.Response(headers={"content-type": kept.content_type, **_header(CacheResult.HIT)}, body=kept.body)

    async def _ask(self, request: web.Request, asked: Request, key: bytes) -> web.StreamResponse:
        self._metrics.count(CacheResult.MISS)
        with self._flights.under_way(key):
            response, whole = await self._asker.ask(
                request, asked, added=_header(CacheResult.MISS), keep_bytes=self._keep_bytes
            )
            if whole is not None:
                self._cache.put(key, whole)
        return response


def _header(result: CacheResult) -> dict[str, str]:
    return {Header.CACHE: result}


class Detour:
    """Answers requests that HAProxy sends to the detour's socket."""

    def __init__(self, asker: Asker, cached: CachedAnswers | None, content_filter: Filter | None) -> None:
        self._asker = asker
        self._cached = cached
        self._filter = content_filter

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        body = await request.read()
        headers = kept_headers(request.headers.items())
        asked = Request(method=request.method, path=request.raw_path, headers=headers, body=body)
        document = read_object(body)
        if self._filter is not None:
            objection = await self._filter.object_to_request(document)
            if objection is not None:
                return objection_response(objection)
        if self._cached is not None:
            return await self._cached.answer(request, asked, document)
        response, _ = await self._asker.ask(request, asked, added={}, keep_bytes=0)
        return response


@asynccontextmanager
async def serve_detour(
    orders: GatewayOrders,
    *,
    socket: Path,
    filter_directory: Path,
    forwarder: Forwarder,
    registry: CollectorRegistry,
) -> AsyncIterator[None]:
    """Serve the detour's socket while the block runs; metrics go to `registry`. Raises OSError if it cannot listen."""
    async with AsyncExitStack() as stack:
        content_filter = None
        if orders.content_filter is not None:
            session = await stack.enter_async_context(_moderation_session())
            moderator = Moderator(orders.content_filter, directory=filter_directory, session=session)
            moderator.register(registry)
            content_filter = Filter(orders.content_filter, moderator)
        asker = Asker(forwarder, content_filter, heartbeat_seconds=orders.heartbeat_seconds)
        cached = CachedAnswers(asker, _cache(orders), registry) if orders.cache_bytes else None
        await stack.enter_async_context(_listening(Detour(asker, cached, content_filter), orders, socket))
        yield


def _cache(orders: GatewayOrders) -> AnswerCache:
    return AnswerCache(capacity_bytes=orders.cache_bytes, ttl_seconds=orders.cache_ttl_seconds, clock=time.monotonic)


def _moderation_session() -> aiohttp.ClientSession:
    # As many at once as there are requests; how long each takes is bounded by the orders.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


@asynccontextmanager
async def _listening(detour: Detour, orders: GatewayOrders, socket: Path) -> AsyncIterator[None]:
    app = web.Application(client_max_size=orders.max_body_bytes + BODY_MARGIN_BYTES)
    app.router.add_route("*", "/{path:.*}", detour.answer)
    runner = web.AppRunner(
        app,
        access_log=None,
        # HAProxy hangs up when the client does.
        handler_cancellation=True,
        # Bodies are passed on as they came.
        auto_decompress=False,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        shutdown_timeout=FINISH_SECONDS,
    )
    await runner.setup()
    try:
        await web.UnixSite(runner, str(socket), backlog=BACKLOG).start()
        socket.chmod(SOCKET_MODE)  # noqa: ASYNC240 - one call, on a file system in memory
        yield
    finally:
        await runner.cleanup()
