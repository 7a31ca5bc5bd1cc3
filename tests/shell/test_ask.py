"""One question to one replica, and its answer."""

import asyncio
import gzip
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from e2e.ports import free_ports
from gptoss_operator.shell.ask import BODY_MAX_BYTES, Answer, Line, answer_in, decoded
from gptoss_operator.shell.samples import Result, ScrapeFailed
from gptoss_runtime.contract import (
    Check,
    ContractError,
    Phase,
    ReplicaState,
)
from tests.runtime import harness
from tests.shell.replicas import READY, Replica, asked, failed


@pytest.mark.parametrize("address", ["127.0.0.11", "::1"])
def test_a_replica_is_asked_by_its_address(address: str) -> None:
    headers: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        headers.extend(request.headers)
        return web.Response(text=READY.encode())

    assert asyncio.run(asked(answer, address)) == READY
    assert headers == ["Host"], "nothing else is said of the operator"


def test_what_cannot_be_understood_is_a_value_with_a_reason() -> None:
    async def elsewhere(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "http://127.0.0.12/state"})

    async def endless(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        for _ in range(BODY_MAX_BYTES // 1024 + 2):
            await stream.write(b" " * 1024)
        return stream

    async def long(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b" " * (BODY_MAX_BYTES + 1))

    async def packed(_: web.Request) -> web.StreamResponse:
        return web.Response(body=gzip.compress(READY.encode().encode()), headers={"Content-Encoding": "gzip"})

    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    assert asyncio.run(asked(elsewhere)) == ScrapeFailed(result=Result.REFUSED, reason="it answered with status 302")
    assert failed(asyncio.run(asked(endless))).result is Result.UNREADABLE
    assert failed(asyncio.run(asked(long))).reason == f"it sent more than {BODY_MAX_BYTES} bytes"
    assert failed(asyncio.run(asked(packed))).result is Result.UNREADABLE
    assert asyncio.run(asked(silent)) == ScrapeFailed(result=Result.LATE, reason="no answer within 2 s")


def test_a_real_server_is_understood(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with harness.running(harness.an_order(harness.a_model(tmp_path)), tmp_path) as server:
            await server.phase(Phase.READY)
            line = Line("127.0.0.1", server.health_port, decoded)
            first, second = await line.ask(), await line.ask()
            line.close()
        assert isinstance(first, ReplicaState)
        assert isinstance(second, ReplicaState)
        assert (second.start_id, second.phase) == (first.start_id, Phase.READY)
        assert second.sequence > first.sequence
        assert set(second.checks) == set(Check) - {Check.GOLDEN_PROMPTS}, "it is asked none"

    asyncio.run(scenario())


def test_nobody_at_the_address_is_a_value_with_a_reason() -> None:
    async def nobody() -> ReplicaState | ScrapeFailed:
        return await Line("127.0.0.11", free_ports(1)[0], decoded).ask()

    answer = failed(asyncio.run(nobody()))
    assert answer.result is Result.UNREACHABLE
    assert "127.0.0.11" in answer.reason


@pytest.mark.parametrize(
    ("sent", "result"),
    [
        (b"", Result.UNREACHABLE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{", Result.UNREACHABLE),
        (b"no http at all\r\n\r\n", Result.UNREADABLE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: minus\r\n\r\n{}", Result.UNREADABLE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", Result.UNREADABLE),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}", Result.UNREADABLE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\n{", Result.UNREADABLE),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, Result.UNREADABLE),
    ],
)
def test_a_server_that_speaks_nonsense_is_not_understood(sent: bytes, result: Result) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        writer.close()
        await writer.wait_closed()

    async def scenario() -> ReplicaState | ScrapeFailed:
        port = free_ports(1)[0]
        async with await asyncio.start_server(answer, "127.0.0.11", port):
            return await Line("127.0.0.11", port, decoded).ask()

    assert failed(asyncio.run(scenario())).result is result


@pytest.mark.parametrize("said", [b"", b"Connection: close\r\n", b"X-Proxy: 1\r\n"])
def test_an_answer_may_come_in_pieces(said: bytes) -> None:
    whole = b"HTTP/1.1 404 Not Found\r\n" + said + b"content-length:  5\r\n\r\nhello"
    assert {answer_in(whole[:length]) for length in range(len(whole))} == {None}
    answer = answer_in(whole)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body, answer.keep) == (404, b"hello", b"close" not in said)
    more = answer_in(whole + b"HTTP/1.1 200")
    assert isinstance(more, Answer)
    assert not more.keep, "who says more than was asked is not trusted with another question"


def test_a_connection_that_the_replica_ended_is_made_anew() -> None:
    async def scenario() -> None:
        port = free_ports(1)[0]
        replica = Replica()
        line = Line("127.0.0.11", port, decoded)
        async with replica.serve("127.0.0.11", port):
            assert isinstance(await line.ask(), ReplicaState)
        assert failed(await line.ask()).result is Result.UNREACHABLE
        async with replica.serve("127.0.0.11", port):
            assert isinstance(await line.ask(), ReplicaState)
            (*_, last) = replica.transports
            last.abort()
            assert isinstance(await line.ask(), ReplicaState), "though nobody has told us yet"
        line.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "text",
    [
        READY.encode(),
        replace(READY, notice=None, checks={}, startup={}).encode(),
        READY.encode().replace('"version":1', '"version":1,"news":{"x":[1]}'),
        READY.encode().replace('"version":1', '"version":2'),
        READY.encode().replace('"version":1,', ""),
        READY.encode().replace('"Ready"', '"Perhaps"'),
        READY.encode().replace('"Termination"', '"Party"'),
        READY.encode().replace('"start_id":"a",', ""),
        "[]",
        "",
        '{"version":1,"x":' + "[" * 60_000,
    ],
)
def test_documents_are_understood_as_the_contract_understands_them(text: str) -> None:
    try:
        expected: ReplicaState | None = ReplicaState.decode(text)
    except (ContractError, RecursionError):
        expected = None
    answer = decoded(text.encode())
    assert (answer if isinstance(answer, ReplicaState) else None) == expected
    if isinstance(answer, ScrapeFailed):
        assert answer.result is Result.UNREADABLE
