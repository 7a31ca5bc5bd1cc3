"""Sending requests on by HAProxy's inner socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from gptoss_runtime.activator.forward import TRIES, Forwarder, ForwardError, Request
from tests.runtime.harness import PATIENCE_SECONDS, scenario


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST = Request(
    method="POST",
    path="/v1/chat/completions?a=%2Fb",
    headers=(
        ("host", "chat.example"),
        ("content-type", "application/json"),
        ("content-length", "999"),
        ("connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("traceparent", "00-1-2-01"),
        ("x-gptoss-tenant", "acme"),
        ("x-request-id", "7f"),
    ),
    body=b'{"model": "m"}',
)


@asynccontextmanager
async def inner(socket: Path, handler: Handler) -> AsyncIterator[Forwarder]:
    """Something that answers at the inner socket, and what forwards to it."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    try:
        async with Forwarder(socket) as forwarder:
            yield forwarder
    finally:
        await runner.cleanup()


@scenario
async def test_a_request_is_passed_on_as_it_came_without_what_is_for_one_connection(tmp_path: Path) -> None:
    seen: list[tuple[str, str, dict[str, str], bytes]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen.append((request.method, request.raw_path, headers, await request.read()))
        return web.Response(status=404, body=b"no", headers={"x-gptoss-replica": "10.0.0.1"})

    async with inner(tmp_path / "s", handler) as forwarder, forwarder.send(REQUEST) as answer:
        assert (answer.status, answer.header("X-Gptoss-Replica")) == (404, "10.0.0.1")
        assert {name for name, _ in answer.headers} >= {"x-gptoss-replica", "content-type"}
        assert not {name for name, _ in answer.headers} & {"connection", "content-length", "transfer-encoding"}
        assert [chunk async for chunk in answer.chunks()] == [b"no"]
    kept = {name: value for name, value in REQUEST.headers if name not in {"connection", "transfer-encoding"}}
    headers = {**kept, "content-length": str(len(REQUEST.body))}
    assert seen == [(REQUEST.method, REQUEST.path, headers, REQUEST.body)]


@pytest.mark.parametrize("status", [502, 503])
def test_a_request_is_sent_again_until_a_replica_takes_it(tmp_path: Path, status: int) -> None:
    statuses = [status, status, 200]

    async def handler(request: web.Request) -> web.StreamResponse:
        assert await request.read() == REQUEST.body
        return web.Response(status=statuses.pop(0))

    @scenario
    async def test() -> None:
        async with inner(tmp_path / "s", handler) as forwarder, forwarder.send(REQUEST) as answer:
            assert (answer.status, statuses) == (200, [])

    test()


@scenario
async def test_the_last_try_decides(tmp_path: Path) -> None:
    tries = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal tries
        tries += 1
        if tries == 1:
            assert request.transport is not None
            request.transport.close()
        return web.Response(status=503)

    async with inner(tmp_path / "s", handler) as forwarder, forwarder.send(REQUEST) as answer:
        assert (answer.status, tries) == (503, TRIES)


@scenario
async def test_a_socket_that_nobody_listens_on_is_named(tmp_path: Path) -> None:
    async with Forwarder(tmp_path / "s") as forwarder:
        with pytest.raises(ForwardError, match=r"no answer by .*/s in 2 tries.*is HAProxy running\?"):
            async with forwarder.send(REQUEST, tries=2):
                pass


@scenario
async def test_a_stream_comes_piece_by_piece_and_leaving_it_stops_the_replica(tmp_path: Path) -> None:
    stopped = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return response

    async with inner(tmp_path / "s", handler) as forwarder, asyncio.timeout(PATIENCE_SECONDS):
        async with forwarder.send(REQUEST) as answer:
            assert await anext(answer.chunks()) == b"data: 1\n\n"
        await stopped.wait()


@scenario
async def test_an_answer_that_breaks_off_is_not_taken_for_complete(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    async with inner(tmp_path / "s", handler) as forwarder, forwarder.send(REQUEST) as answer:
        chunks = answer.chunks()
        assert await anext(chunks) == b"half"
        with pytest.raises(ForwardError, match="broke off"):
            await anext(chunks)
