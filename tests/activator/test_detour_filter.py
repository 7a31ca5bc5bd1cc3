"""The detour with a content filter, over real sockets."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

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


REFUSED = (400, "invalid_request_error", "content_filter")
UNAVAILABLE = (502, "server_error", "content_filter_unavailable", None)
AFTER = {"before": False, "after": True}


def error_of(stream: bytes) -> dict[str, Any]:
    """Return the error of a stream that is nothing else, but for comments."""
    events = [block for block in stream.split(b"\n\n") if block and not block.startswith(b":")]
    assert events[1:] == [b"data: [DONE]"]
    error = json.loads(events[0].removeprefix(b"data: "))["error"]
    assert isinstance(error, dict)
    return error


@scenario
async def test_what_is_allowed_reaches_a_replica(tmp_path: Path) -> None:
    (tmp_path / "api-key").write_text("sk-1\n")
    async with detour(tmp_path, before=True, has_api_key=True) as gateway:
        told = await gateway.ask(a_request("hello"))
        assert (told.status, told.cache, len(gateway.replica.asked)) == (200, None, 1)
        key, question = gateway.judge.asked[0]
        assert key == "Bearer sk-1"
        assert question == {
            "model": "safeguard",
            "messages": [
                {"role": "system", "content": "Say 0 if it is allowed, or else 1."},
                {"role": "user", "content": "user\nhello"},
            ],
            "temperature": 0,
            "max_tokens": 1024,
        }
        assert gateway.metric("gptoss_gateway_filter_requests_total", stage="before", verdict="allowed") == 1
        assert gateway.metric("gptoss_gateway_filter_seconds_count", stage="before") == 1
        (tmp_path / "api-key").write_text("sk-2")
        await gateway.ask(a_request("hello"))
        assert gateway.judge.asked[1][0] == "Bearer sk-2"


@pytest.mark.parametrize(
    ("path", "document", "param"),
    [
        ("/v1/chat/completions", a_request("a forbidden thing"), "messages"),
        ("/v1/chat/completions", a_request("a forbidden thing", stream=True), "messages"),
        ("/v1/completions", {"prompt": ["fine", "forbidden"]}, "prompt"),
        ("/v1/completions", {"prompt": [1, 2, 3]}, "prompt"),
        ("/v1/responses", {"input": "fine", "instructions": "forbidden"}, "input"),
    ],
)
@scenario
async def test_what_is_refused_reaches_none(tmp_path: Path, path: str, document: dict[str, Any], param: str) -> None:
    async with detour(tmp_path, before=True) as gateway:
        assert (await gateway.ask(document, path=path)).error() == (*REFUSED, param)
        assert gateway.replica.asked == []


@pytest.mark.parametrize("body", [b"[]", json.dumps(a_request("forbidden")).encode("utf-16")])
@scenario
async def test_what_cannot_be_read_reaches_none(tmp_path: Path, body: bytes) -> None:
    async with detour(tmp_path, before=True, refuse_on_failure=False) as gateway:
        assert (await gateway.ask(body)).error() == (400, "invalid_request_error", "invalid_json", None)
        assert gateway.replica.asked == []


async def fail(_: web.Request) -> web.StreamResponse:
    return web.Response(status=500)


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


async def say_nothing(_: web.Request) -> web.StreamResponse:
    return web.json_response(a_completion(""))


@pytest.mark.parametrize("judge", [fail, hang, say_nothing])
@pytest.mark.parametrize("refuse", [True, False])
@scenario
async def test_without_a_verdict_the_spec_decides(*, tmp_path: Path, judge: Any, refuse: bool) -> None:  # noqa: ANN401
    async with detour(tmp_path, refuse_on_failure=refuse, timeout_seconds=0.1) as gateway:
        gateway.judge.answer = judge
        told = await gateway.ask(a_request("hello"))
        if refuse:
            assert told.error() == UNAVAILABLE
            assert told.headers["Retry-After"] == "5"
        assert len(gateway.replica.asked) == (0 if refuse else 1)
        assert gateway.metric("gptoss_gateway_filter_requests_total", stage="before", verdict="failed") == 1


@scenario
async def test_without_a_moderation_model_or_its_key_there_is_no_verdict(tmp_path: Path) -> None:
    async with detour(tmp_path, url="http://127.0.0.1:9/v1") as gateway:
        assert (await gateway.ask(a_request())).error() == UNAVAILABLE
    async with detour(tmp_path, has_api_key=True) as gateway:
        assert (await gateway.ask(a_request())).error() == UNAVAILABLE
        assert gateway.judge.asked == []


@scenario
async def test_a_kept_connection_that_was_closed_is_no_failure(tmp_path: Path) -> None:
    async def drop_first(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        gateway.judge.answer = None
        request.transport.close()
        return web.Response()

    async with detour(tmp_path, before=True) as gateway:
        gateway.judge.answer = drop_first
        assert (await gateway.ask(a_request())).status == 200
        assert len(gateway.judge.asked) == 2


@scenario
async def test_an_answer_is_judged_before_the_client_sees_it(tmp_path: Path) -> None:
    async with detour(tmp_path, **AFTER) as gateway:
        told = await gateway.ask(a_request("forbidden to ask, but nobody looks"))
        assert (told.status, told.json()["choices"][0]["message"]["content"]) == (200, "four")
        assert gateway.judge.asked[0][1]["messages"][1]["content"] == "four"
        gateway.replica.says = "forbidden"
        assert (await gateway.ask(a_request())).error() == (*REFUSED, None)
        assert gateway.metric("gptoss_gateway_filter_requests_total", stage="after", verdict="refused") == 1


@scenario
async def test_a_stream_is_judged_before_the_client_sees_any_of_it(tmp_path: Path) -> None:
    async with detour(tmp_path, **AFTER) as gateway:
        allowed = await gateway.ask(a_request(stream=True))
        assert allowed.body == b"".join([*map(an_event, ("1:", "fo", "ur")), an_event("", "stop"), DONE])
        gateway.replica.says = "forbidden"
        refused = await gateway.ask(a_request(stream=True))
        assert refused.headers["Content-Type"].startswith("text/event-stream")
        assert (refused.status, error_of(refused.body)["code"]) == (200, "content_filter")


@scenario
async def test_comments_keep_a_stream_open_while_it_is_collected(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = await begin_stream(request)
        await response.write(an_event("one"))
        await go_on.wait()
        await response.write(DONE)
        return response

    async with detour(tmp_path, heartbeat_seconds=0.05, **AFTER) as gateway:
        gateway.replica.answer = answer
        async with gateway.client.post(CHAT_URL, json=a_request(stream=True)) as response:
            for _ in range(3):
                assert await response.content.readuntil(b"\n\n") == b": checking\n\n"
            go_on.set()
            assert (await response.read()).replace(b": checking\n\n", b"") == an_event("one") + DONE


@pytest.mark.parametrize("refuse", [True, False])
@scenario
async def test_an_answer_without_a_verdict_is_as_the_spec_says(*, tmp_path: Path, refuse: bool) -> None:
    async with detour(tmp_path, refuse_on_failure=refuse, **AFTER) as gateway:
        gateway.judge.answer = fail
        plain, stream = await gateway.ask(a_request()), await gateway.ask(a_request(stream=True))
        if refuse:
            assert plain.error() == UNAVAILABLE
            assert error_of(stream.body)["code"] == "content_filter_unavailable"
        else:
            assert plain.status == 200
            assert stream.body.endswith(DONE)


@pytest.mark.parametrize("stream", [True, False])
@scenario
async def test_an_answer_that_is_too_large_to_be_judged_is_refused(*, tmp_path: Path, stream: bool) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream" if stream else "application/json"})
        await response.prepare(request)
        while True:
            await response.write(an_event("x" * 100_000))

    async with detour(tmp_path, refuse_on_failure=False, **AFTER) as gateway:
        gateway.replica.answer = answer
        told = await gateway.ask(a_request(stream=stream))
        error = error_of(told.body) if stream else told.json()["error"]
        assert (error["code"], error["param"]) == ("content_filter", None)
        assert "8000000 bytes" in error["message"]
        assert gateway.judge.asked == []


@scenario
async def test_a_stream_that_breaks_off_is_judged_as_far_as_it_came(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = await begin_stream(request)
        await response.write(an_event(gateway.replica.says) + b'data: {"half')
        assert request.transport is not None
        request.transport.close()
        return response

    async with detour(tmp_path, **AFTER) as gateway:
        gateway.replica.answer = answer
        async with gateway.client.post(CHAT_URL, json=a_request(stream=True)) as response:
            assert await response.content.readany() == an_event("four")
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        gateway.replica.says = "forbidden"
        told = await gateway.ask(a_request(stream=True))
        assert error_of(told.body)["code"] == "content_filter"


@scenario
async def test_an_answer_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"choices"')
        assert request.transport is not None
        request.transport.close()
        return response

    async with detour(tmp_path, **AFTER) as gateway:
        gateway.replica.answer = answer
        assert (await gateway.ask(a_request())).error() == (502, "server_error", "replica_lost", None)


@scenario
async def test_errors_of_replicas_are_not_judged(tmp_path: Path) -> None:
    async with detour(tmp_path, **AFTER) as gateway:
        gateway.replica.answer = fail
        assert (await gateway.ask(a_request())).status == 500
        assert gateway.judge.asked == []


@scenario
async def test_a_client_that_leaves_ends_the_question_and_the_answer(tmp_path: Path) -> None:
    left, asked = asyncio.Event(), asyncio.Event()

    async def wait_until_it_leaves(_: web.Request) -> web.StreamResponse:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return web.Response()

    async with asyncio.timeout(PATIENCE_SECONDS), detour(tmp_path, before=True, after=True) as gateway:
        gateway.judge.answer = wait_until_it_leaves
        asking = asyncio.create_task(gateway.ask(a_request()))
        await asked.wait()
        asking.cancel()
        await left.wait()
        gateway.judge.answer, gateway.replica.answer = None, wait_until_it_leaves
        asked.clear()
        left.clear()
        asking = asyncio.create_task(gateway.ask(a_request()))
        await asked.wait()
        asking.cancel()
        await left.wait()


@scenario
async def test_only_what_passed_the_filter_is_kept_and_each_request_is_judged(tmp_path: Path) -> None:
    async with detour(tmp_path, cache_bytes=2**20, before=True, after=True) as gateway:
        gateway.replica.says = "forbidden"
        assert [(await gateway.ask(a_request())).status for _ in range(2)] == [400, 400]
        gateway.replica.says = "four"
        told = [await gateway.ask(a_request()) for _ in range(2)]
        assert [answer.cache for answer in told] == ["miss", "hit"]
        questions = [question["messages"][1]["content"] for _, question in gateway.judge.asked]
        assert questions == ["user\n2+2?", "forbidden"] * 2 + ["user\n2+2?", "four", "user\n2+2?"]
        assert (await gateway.ask(a_request("forbidden"))).error() == (*REFUSED, "messages")
        streams = [await gateway.ask(a_request(stream=True)) for _ in range(2)]
        assert [answer.cache for answer in streams] == ["miss", "hit"]
        assert streams[0].body == streams[1].body
