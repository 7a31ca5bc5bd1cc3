"""The detour with a cache, over real sockets."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from gptoss_runtime.gateway_contract import Header
from tests.activator.detour_harness import (
    CHAT_URL,
    DONE,
    PATIENCE_SECONDS,
    a_completion,
    a_request,
    an_event,
    begin_stream,
    detour,
)
from tests.runtime.harness import scenario


CACHE_BYTES = 2**20


@scenario
async def test_the_second_equal_request_is_answered_from_the_cache(tmp_path: Path) -> None:
    async with detour(tmp_path, cache_bytes=CACHE_BYTES) as gateway:
        first = await gateway.ask(a_request(), x_gptoss_tenant="a")
        second = await gateway.ask(dict(reversed(a_request().items())), x_gptoss_tenant="a")
        assert (first.cache, second.cache, len(gateway.replica.asked)) == ("miss", "hit", 1)
        assert (second.status, second.body) == (200, first.body)
        assert first.headers[Header.REPLICA] == "10.0.0.1"
        assert {Header.REPLICA, Header.REQUEST_ID} & {name.lower() for name in second.headers} == set()
        assert gateway.metric("gptoss_gateway_cache_requests_total", result="hit") == 1
        assert gateway.metric("gptoss_gateway_cache_requests_total", result="miss") == 1
        assert gateway.metric("gptoss_gateway_cache_entries") == 1
        assert (gateway.metric("gptoss_gateway_cache_bytes") or 0) > len(first.body)


@scenario
async def test_tenants_are_answered_apart(tmp_path: Path) -> None:
    async with detour(tmp_path, cache_bytes=CACHE_BYTES) as gateway:
        answers = [await gateway.ask(a_request(), x_gptoss_tenant=tenant) for tenant in ("a", "b", "a", "b")]
        assert [answer.cache for answer in answers] == ["miss", "miss", "hit", "hit"]
        assert [answer.json()["id"] for answer in answers] == [f"chatcmpl-{n}" for n in (1, 2, 1, 2)]


@scenario
async def test_what_is_not_deterministic_passes_by(tmp_path: Path) -> None:
    async with detour(tmp_path, cache_bytes=CACHE_BYTES) as gateway:
        await gateway.ask(a_request())
        passing = [
            await gateway.ask(a_request(temperature=1)),
            await gateway.ask(a_request(), cache_control="no-cache"),
            await gateway.ask(b'{"temperature": 0', path="/v1/other"),
        ]
        assert [answer.cache for answer in passing[:2]] == ["bypass", "bypass"]
        assert len(gateway.replica.asked) == 4
        assert gateway.metric("gptoss_gateway_cache_requests_total", result="bypass") == 3


@scenario
async def test_the_replica_sees_what_the_client_sent(tmp_path: Path) -> None:
    async with detour(tmp_path, cache_bytes=CACHE_BYTES) as gateway:
        body = b'{ "temperature":0,\n"messages": [] , "model":"\\u00e4"}'
        await gateway.ask(body, path="/v1/chat/completions?a=%2F", traceparent="00-1-2-01", x_gptoss_priority="-100")
        path, headers, seen = gateway.replica.asked[0]
        assert (path, seen) == ("/v1/chat/completions?a=%2F", body)
        assert (headers["traceparent"], headers["x-gptoss-priority"]) == ("00-1-2-01", "-100")
        assert headers["content-length"] == str(len(body))


@scenario
async def test_a_stream_is_kept_whole(tmp_path: Path) -> None:
    async with detour(tmp_path, cache_bytes=CACHE_BYTES) as gateway:
        first, second = [await gateway.ask(a_request(stream=True)) for _ in range(2)]
        assert (first.cache, second.cache, second.body) == ("miss", "hit", first.body)
        assert second.headers["Content-Type"] == first.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert (await gateway.ask(a_request())).cache == "miss"


@scenario
async def test_a_streams_events_come_as_the_replica_says_them(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = await begin_stream(request)
        await response.write(an_event("one"))
        await go_on.wait()
        await response.write(DONE)
        return response

    async with detour(tmp_path, cache_bytes=CACHE_BYTES) as gateway:
        gateway.replica.answer = answer
        async with gateway.client.post(CHAT_URL, json=a_request(stream=True)) as response:
            assert await response.content.readuntil(b"\n\n") == an_event("one")
            go_on.set()
            assert await response.read() == DONE


@scenario
async def test_errors_are_passed_on_and_not_kept(tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"code": "queue_timeout"}}, status=429, headers={"retry-after": "3"})

    async with detour(tmp_path, cache_bytes=CACHE_BYTES) as gateway:
        gateway.replica.answer = answer
        answers = [await gateway.ask(a_request()) for _ in range(2)]
        assert [(a.status, a.headers["Retry-After"], a.cache) for a in answers] == [(429, "3", "miss")] * 2
        gateway.replica.answer = None
        assert (await gateway.ask(a_request())).status == 200


@pytest.mark.parametrize("stream", [True, False])
@scenario
async def test_an_answer_that_breaks_off_breaks_off_for_the_client_and_is_not_kept(
    *, tmp_path: Path, stream: bool
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream" if stream else "application/json"})
        await response.prepare(request)
        await response.write(an_event("one") + DONE if stream else json.dumps(a_completion("x")).encode())
        assert request.transport is not None
        request.transport.close()
        return response

    async with detour(tmp_path, cache_bytes=CACHE_BYTES) as gateway:
        gateway.replica.answer = answer
        async with gateway.client.post(CHAT_URL, json=a_request(stream=stream)) as response:
            came = await response.content.readany()
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        assert came.startswith(b"data: " if stream else b"{")
        gateway.replica.answer = None
        assert (await gateway.ask(a_request(stream=stream))).cache == "miss"


@scenario
async def test_a_stream_that_haproxy_ended_with_an_error_is_passed_on_and_not_kept(tmp_path: Path) -> None:
    ending = b'\n\ndata: {"error":{"message":"lost","code":"replica_lost"}}\n\n' + DONE

    async def answer(request: web.Request) -> web.StreamResponse:
        response = await begin_stream(request)
        await response.write(an_event("one") + ending)
        return response

    async with detour(tmp_path, cache_bytes=CACHE_BYTES) as gateway:
        gateway.replica.answer = answer
        answers = [await gateway.ask(a_request(stream=True)) for _ in range(2)]
        assert [(a.body, a.cache) for a in answers] == [(an_event("one") + ending, "miss")] * 2


@scenario
async def test_a_client_that_leaves_stops_the_replica(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = await begin_stream(request)
        await response.write(an_event("one"))
        await asyncio.Event().wait()
        return response

    async with detour(tmp_path, cache_bytes=CACHE_BYTES) as gateway:
        gateway.replica.answer = answer
        async with gateway.client.post(CHAT_URL, json=a_request(stream=True)) as response:
            await response.content.readany()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await gateway.replica.left.wait()


@scenario
async def test_equal_requests_at_once_ask_a_replica_once(tmp_path: Path) -> None:
    go_on, asked = asyncio.Event(), asyncio.Event()

    async def answer(_: web.Request) -> web.StreamResponse:
        asked.set()
        await go_on.wait()
        return web.json_response(a_completion("once"))

    async with detour(tmp_path, cache_bytes=CACHE_BYTES) as gateway, asyncio.TaskGroup() as clients:
        gateway.replica.answer = answer
        first = clients.create_task(gateway.ask(a_request()))
        await asked.wait()
        others = [clients.create_task(gateway.ask(a_request())) for _ in range(5)]
        # Another tenant waits for nobody, and so comes to the replica while the first is still there.
        asked.clear()
        clients.create_task(gateway.ask(a_request(), x_gptoss_tenant="b"))
        await asked.wait()
        go_on.set()
        assert (await first).cache == "miss"
        assert [(await other).cache for other in others] == ["hit"] * 5
        assert len(gateway.replica.asked) == 2


@scenario
async def test_when_the_first_fails_the_others_ask_for_themselves(tmp_path: Path) -> None:
    go_on, asked = asyncio.Event(), asyncio.Event()

    async def fail(_: web.Request) -> web.StreamResponse:
        asked.set()
        await go_on.wait()
        gateway.replica.answer = None
        return web.json_response({"error": {}}, status=500)

    async with detour(tmp_path, cache_bytes=CACHE_BYTES) as gateway, asyncio.TaskGroup() as clients:
        gateway.replica.answer = fail
        first = clients.create_task(gateway.ask(a_request()))
        await asked.wait()
        second = clients.create_task(gateway.ask(a_request()))
        go_on.set()
        assert [(await first).status, (await second).status] == [500, 200]


@scenario
async def test_without_haproxy_the_client_is_told(tmp_path: Path) -> None:
    async with detour(tmp_path, cache_bytes=CACHE_BYTES) as gateway:
        (tmp_path / "inner.sock").unlink()
        told = await gateway.ask(a_request())
        assert told.error() == (502, "server_error", "bad_gateway", None)
        assert told.headers["Retry-After"] == "5"


@scenario
async def test_a_503_without_a_word_is_explained(tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    async with detour(tmp_path, cache_bytes=CACHE_BYTES) as gateway:
        gateway.replica.answer = answer
        assert (await gateway.ask(a_request())).error() == (503, "server_error", "no_replica", None)
