"""Held streams that the activator answers itself, and what the hold does when HAProxy says strange things."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from gptoss_runtime.activator.background import background
from gptoss_runtime.activator.forward import TRIES, Forwarder
from gptoss_runtime.activator.haproxy.runtime_api import RuntimeApi
from gptoss_runtime.activator.hold.cold_start import Outlook
from gptoss_runtime.activator.hold.hold import Hold
from gptoss_runtime.activator.hold.server import HoldServer, serve_hold, wants_stream
from gptoss_runtime.gateway_contract import Header
from tests.activator.fake_haproxy import FakeHaproxy, fake_haproxy
from tests.activator.hold_harness import orders, until
from tests.runtime.harness import PATIENCE_SECONDS, scenario


URL = "http://hold/v1/chat/completions"
OUTLOOK = Outlook(seconds=33.3, text="no replica is ready yet; about 33 s to go")
DONE = b"data: [DONE]\n\n"


class Door:
    """What HAProxy does at the hold's socket."""

    def __init__(self, session: aiohttp.ClientSession, hold: Hold, server: HoldServer) -> None:
        self.session = session
        self.hold = hold
        self.server = server

    async def ask(
        self, *, stream: bool = True, request_id: str = "7f", seconds_old: float = 0.0
    ) -> aiohttp.ClientResponse:
        if seconds_old:
            request_id = f"{int((time.time() - seconds_old) * 1000):016X}{request_id:0>16}"
        headers = {"x-request-id": request_id}
        return await self.session.post(URL, json={"stream": stream, "messages": []}, headers=headers)

    async def holds(self, count: int) -> None:
        async def so() -> bool:
            return self.hold.count == count

        await until(so)


@asynccontextmanager
async def door(run: Path, **changes: object) -> AsyncIterator[Door]:
    chosen = orders(**{"heartbeat_seconds": 0.05, **changes})
    hold = Hold(chosen, RuntimeApi(run / "haproxy.sock"), lambda: OUTLOOK)
    connector = aiohttp.UnixConnector(str(run / "hold.sock"), limit=0)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        Forwarder(run / "inner.sock") as forwarder,
        background(hold.run()),
    ):
        server = HoldServer(chosen, hold, forwarder)
        async with serve_hold(server, run / "hold.sock"), aiohttp.ClientSession(connector=connector) as session:
            yield Door(session, hold, server)
            await session.close()
            await server.ended()


async def first_comment(answer: aiohttp.ClientResponse) -> bytes:
    return await answer.content.readuntil(b"\n\n")


def events(stream: bytes) -> list[bytes]:
    return [part for part in stream.split(b"\n\n") if part and not part.startswith(b":")]


async def answer_stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b"data: 1\n\ndata: ")
    await response.write(b"2\n\n" + DONE)
    return response


def changes(fake: FakeHaproxy, *answers: web.StreamResponse) -> None:
    """Let the inner socket give these answers, and then a stream."""
    left = list(answers)

    async def handler(request: web.Request) -> web.StreamResponse:
        return left.pop(0) if left else await answer_stream(request)

    fake.handler = handler


@scenario
async def test_a_held_stream_is_forwarded_as_it_came(tmp_path: Path) -> None:
    async with fake_haproxy(tmp_path) as fake, door(tmp_path) as at:
        changes(fake)
        answer = await at.ask()
        assert await first_comment(answer) == f": {OUTLOOK.text}\n\n".encode()
        fake.replica_is("UP")
        assert events(await answer.read()) == [b"data: 1", b"data: 2", b"data: [DONE]"]
        (request,) = fake.inner_requests
        assert (request.method, request.raw_path) == ("POST", "/v1/chat/completions")
        assert (request.headers["host"], request.headers["x-request-id"]) == ("hold", "7f")


@scenario
async def test_a_request_that_lost_replicas_before_is_sent_by_the_activator(tmp_path: Path) -> None:
    """HAProxy may have no try left for it, so it is not told to go on."""
    async with fake_haproxy(tmp_path) as fake, door(tmp_path) as at:
        changes(fake, web.Response(status=502), web.json_response({"id": "1"}, status=201, headers={"x-replica": "r"}))
        asking = asyncio.create_task(at.ask(stream=False, seconds_old=3))
        await at.holds(1)
        fake.replica_is("UP")
        answer = await asking
        assert (answer.status, answer.headers["x-replica"], await answer.json()) == (201, "r", {"id": "1"})
        assert len(fake.inner_requests) == 2


@scenario
async def test_a_stream_that_lost_replicas_before_gets_its_head_from_the_replica(tmp_path: Path) -> None:
    async with fake_haproxy(tmp_path) as fake, door(tmp_path, heartbeat_seconds=60.0) as at:
        changes(fake)
        asking = asyncio.create_task(at.ask(seconds_old=3))
        await at.holds(1)
        fake.replica_is("UP")
        assert await (await asking).read() == b"data: 1\n\ndata: 2\n\n" + DONE


@scenario
async def test_a_worn_request_that_may_not_wait_longer_is_refused(tmp_path: Path) -> None:
    async with fake_haproxy(tmp_path), door(tmp_path, hold_max_wait_seconds=0.2) as at:
        answer = await at.ask(stream=False, seconds_old=3)
        assert (answer.status, (await answer.json())["error"]["code"]) == (429, "hold_timeout")


@scenario
async def test_no_replica_after_all_means_to_wait_for_the_next_turn(tmp_path: Path) -> None:
    async with fake_haproxy(tmp_path) as fake, door(tmp_path) as at:
        again = [web.Response(status=429, headers={str(Header.HELD): "again"}) for _ in range(TRIES)]
        changes(fake, web.Response(status=503), *again)
        answer = await at.ask()
        await first_comment(answer)
        fake.replica_is("UP")
        assert events(await answer.read())[-1] == b"data: [DONE]"
        assert len(fake.inner_requests) == TRIES + 2
        assert at.hold.total == 1


@scenario
async def test_a_request_that_loses_every_replica_is_given_up(tmp_path: Path) -> None:
    async with fake_haproxy(tmp_path) as fake, door(tmp_path) as at:
        changes(fake, *(web.Response(status=502) for _ in range(TRIES + 5)))
        answer = await at.ask()
        await first_comment(answer)
        fake.replica_is("UP")
        error, done = events(await answer.read())
        assert (json.loads(error[6:])["error"]["code"], done) == ("replica_failed", b"data: [DONE]")
        assert len(fake.inner_requests) == TRIES


@scenario
async def test_a_replicas_error_becomes_an_event(tmp_path: Path) -> None:
    async with fake_haproxy(tmp_path) as fake, door(tmp_path) as at:
        problem = {"error": {"message": "too long", "type": "BadRequestError", "param": None, "code": 400}}
        changes(fake, web.Response(status=400, text=json.dumps(problem, indent=2) + "\n\n"))
        answer = await at.ask()
        await first_comment(answer)
        fake.replica_is("UP")
        error, done = events(await answer.read())
        assert (json.loads(error[6:]), done) == (problem, b"data: [DONE]")


@scenario
async def test_an_answer_that_breaks_off_is_not_ended_as_complete(tmp_path: Path) -> None:
    async with fake_haproxy(tmp_path) as fake, door(tmp_path) as at:

        async def break_off(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"data: 1\n\n")
            assert request.transport is not None
            request.transport.close()
            return response

        fake.handler = break_off
        answer = await at.ask()
        await first_comment(answer)
        fake.replica_is("UP")
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


@scenario
async def test_a_client_that_leaves_stops_the_replica(tmp_path: Path) -> None:
    async with fake_haproxy(tmp_path) as fake, door(tmp_path) as at:
        began, stopped = asyncio.Event(), asyncio.Event()

        async def hang(_: web.Request) -> web.StreamResponse:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()
            return web.Response()

        fake.handler = hang
        answer = await at.ask()
        fake.replica_is("UP")
        await began.wait()
        answer.close()
        await stopped.wait()


@scenario
async def test_its_own_request_that_comes_back_is_bounced_and_not_held_again(tmp_path: Path) -> None:
    async with fake_haproxy(tmp_path), door(tmp_path) as at:
        carried = await at.ask(request_id="7f")
        await first_comment(carried)
        bounced = await at.ask(request_id="7f")
        assert (bounced.status, bounced.headers[Header.HELD]) == (429, "again")
        assert (at.hold.count, at.hold.total) == (1, 1)
        carried.close()


@scenario
async def test_a_request_that_comes_back_after_its_release_keeps_its_age_and_place(tmp_path: Path) -> None:
    async with fake_haproxy(tmp_path) as fake, door(tmp_path, hold_max_requests=1, hold_max_wait_seconds=1.0) as at:
        fake.replica_is("UP")
        assert (await at.ask(stream=False, request_id="1")).status == 503
        fake.replica_is("DOWN")
        other = asyncio.create_task(at.ask(stream=False, request_id="2"))
        await at.holds(1)
        back = await at.ask(stream=False, request_id="1")
        assert (back.status, (await back.json())["error"]["code"]) == (429, "hold_timeout")
        assert at.hold.total == 2
        assert (await other).status == 429


@scenario
async def test_retry_after_is_the_estimate(tmp_path: Path) -> None:
    async with fake_haproxy(tmp_path), door(tmp_path, hold_max_requests=0) as at:
        answer = await at.ask()
        assert (answer.status, answer.headers["retry-after"]) == (429, "34")
        assert answer.headers["x-gptoss-code"] == "hold_full"
        assert (await answer.json())["error"]["code"] == "hold_full"


@scenario
async def test_news_of_a_replica_lets_requests_go_on_at_once(tmp_path: Path) -> None:
    async with fake_haproxy(tmp_path) as fake, door(tmp_path) as at:
        asked = asyncio.create_task(at.ask(stream=False))
        await at.holds(1)
        assert at.hold.oldest_seconds() >= 0
        fake.replica_is("UP")
        at.hold.replica_came_up()
        assert (await asked).status == 503
        assert at.hold.count == 0


@scenario
async def test_requests_are_held_while_haproxys_runtime_api_fails(tmp_path: Path) -> None:
    async with fake_haproxy(tmp_path) as fake, door(tmp_path) as at:
        fake.rows = ["replicas,replica1,nonsense"]
        asked = asyncio.create_task(at.ask(stream=False))
        await at.holds(1)
        fake.replica_is("UP")
        assert (await asked).status == 503


@scenario
async def test_what_is_no_request_is_refused(tmp_path: Path) -> None:
    async with fake_haproxy(tmp_path), door(tmp_path):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "hold.sock")
        writer.write(b"nonsense\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("body", "stream"),
    [
        (b'{"messages": [{"stream": 1}], "stream": true}', True),
        (b'{"stream": false}', False),
        (b'{"stream": null}', False),
        (b'{"messages": []}', False),
        (b'{"stream": "yes"}', False),
        (b'["stream", true]', False),
        (b'{"stream": true', False),
        (b"", False),
    ],
)
def test_who_wants_a_stream(body: bytes, stream: bool) -> None:  # noqa: FBT001 - the expectation
    assert wants_stream(body) is stream
