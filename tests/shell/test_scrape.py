import asyncio
import gzip
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from gptoss_operator.api.names import COMPONENT_REPLICA
from gptoss_operator.core.objects import Pod, PodCondition
from gptoss_operator.shell.ask import BODY_MAX_BYTES, Answer, Line, answer_in, decoded
from gptoss_operator.shell.samples import Result, Samples, ScrapeFailed
from gptoss_operator.shell.scrape import Scraper
from gptoss_operator.shell.store import Key
from gptoss_operator.shell.telemetry import Telemetry
from gptoss_runtime.contract import (
    Check,
    CheckResult,
    ContractError,
    Gauge,
    Notice,
    NoticeKind,
    Phase,
    ReplicaState,
    Verdict,
)
from tests.runtime import harness
from tests.shell.builders import a_pod


CHAT = Key("demo", "chat")
READY = ReplicaState(
    start_id="a",
    sequence=1,
    phase=Phase.READY,
    verdict=Verdict(ready=True, live=True, reason="vLLM is up"),
    uptime_seconds=12,
    counters={"engine_steps": 4.0},
    gauges={Gauge.REQUESTS_RUNNING: 1.0},
    startup={Phase.LOADING: 3.5},
    checks={Check.MODEL_LOADED: CheckResult(ok=None, detail="not asked yet")},
    notice=Notice(kind=NoticeKind.TERMINATION, source="AWS spot/instance-action", deadline=1800000000.0),
)
INTERVAL_SECONDS = 0.3
WAIT_SECONDS = 20

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def free_port() -> int:
    with socket.create_server(("127.0.0.11", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class Replica:
    """Says `state` with a new sequence number each time; `asked` counts the questions."""

    def __init__(self, state: ReplicaState = READY) -> None:
        self.state = state
        self.asked = 0
        self.transports: list[asyncio.Transport] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        if request.transport not in self.transports:
            assert request.transport is not None
            self.transports.append(request.transport)
        self.state = replace(self.state, sequence=self.state.sequence + 1)
        return web.Response(text=self.state.encode())

    @asynccontextmanager
    async def serve(self, address: str, port: int) -> AsyncIterator[None]:
        async with served(self.answer, address, port):
            yield


@asynccontextmanager
async def served(handler: Handler, address: str, port: int) -> AsyncIterator[None]:
    application = web.Application()
    application.router.add_get("/state", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
        yield
    finally:
        await runner.cleanup()


async def asked(handler: Handler, address: str = "127.0.0.11") -> ReplicaState | ScrapeFailed:
    port = free_port()
    line = Line(address, port)
    async with served(handler, address, port):
        answer = await line.ask()
        line.close()
        return answer


def failed(answer: ReplicaState | ScrapeFailed) -> ScrapeFailed:
    assert isinstance(answer, ScrapeFailed)
    return answer


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
            line = Line("127.0.0.1", server.health_port)
            first, second = await line.ask(), await line.ask()
            line.close()
        assert isinstance(first, ReplicaState)
        assert isinstance(second, ReplicaState)
        assert (second.start_id, second.phase) == (first.start_id, Phase.READY)
        assert second.sequence > first.sequence
        assert set(second.checks) == set(Check)

    asyncio.run(scenario())


def test_nobody_at_the_address_is_a_value_with_a_reason() -> None:
    async def nobody() -> ReplicaState | ScrapeFailed:
        return await Line("127.0.0.11", free_port()).ask()

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
        port = free_port()
        async with await asyncio.start_server(answer, "127.0.0.11", port):
            return await Line("127.0.0.11", port).ask()

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
        port = free_port()
        replica = Replica()
        line = Line("127.0.0.11", port)
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


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


REFUSED = ScrapeFailed(result=Result.UNREACHABLE, reason="connection refused")


def test_only_what_is_not_a_number_is_news() -> None:
    samples = Samples(fresh_seconds=15)
    assert samples.take("p", READY).news
    numbers = replace(READY, sequence=2, counters={"engine_steps": 9.0}, gauges={}, startup={}, uptime_seconds=99)
    assert samples.take("p", numbers) == (Result.OK, False)
    changes = {
        "start_id": "b",
        "phase": Phase.DRAINING,
        "verdict": Verdict(ready=False, live=True, reason="x"),
        "checks": {Check.MODEL_LOADED: CheckResult(ok=None, detail="vLLM does not answer")},
        "notice": None,
    }
    for number, (name, value) in enumerate(changes.items(), start=3):
        samples.take("p", replace(READY, sequence=number * 10))
        changed = replace(READY, sequence=number * 10 + 1, **{name: value})  # type: ignore[arg-type]  # one of several
        assert samples.take("p", changed) == (Result.OK, True), name


def test_a_check_has_changed_when_three_documents_in_a_row_say_so() -> None:
    samples = Samples(fresh_seconds=15)
    answers = [True, False, False, True, False, False, False, True, False, True, True, True]
    counted, news = [], []
    for number, ok in enumerate(answers):
        checks: dict[str, CheckResult] = {Check.MEMORY_AVAILABLE: CheckResult(ok=ok, detail=f"{ok}")}
        news.append(samples.take("p", replace(READY, sequence=number, checks=checks)).news)
        state = samples.fresh("p")
        assert state is not None
        counted.append(state.checks[Check.MEMORY_AVAILABLE].ok)
    assert counted == [True] * 6 + [False] * 5 + [True]
    assert [number for number, new in enumerate(news) if new] == [0, 6, 11]


def test_another_start_is_believed_at_once() -> None:
    samples = Samples(fresh_seconds=15)
    samples.take("p", READY)
    samples.take("p", replace(READY, start_id="b", checks={}))
    state = samples.fresh("p")
    assert state is not None
    assert state.checks == {}


def test_a_sample_is_of_use_for_a_while() -> None:
    clock = Clock()
    samples = Samples(fresh_seconds=15, clock=clock)
    samples.take("p", READY)

    clock.now += 15
    assert samples.take("p", REFUSED) == (Result.UNREACHABLE, False)
    assert samples.fresh("p") == READY
    assert samples.silent("p") is None

    clock.now += 1
    assert samples.fresh("p") is None
    assert samples.take("p", REFUSED) == (Result.UNREACHABLE, True), "its end is news"
    assert samples.take("p", REFUSED) == (Result.UNREACHABLE, False)
    assert samples.silent("p") == REFUSED

    assert samples.take("p", replace(READY, sequence=2)).news
    clock.now += 16
    assert samples.take("p", replace(READY, sequence=3)).news, "for a moment nothing was known of it"


def test_a_document_that_was_seen_before_does_not_keep_a_sample_fresh() -> None:
    clock = Clock()
    samples = Samples(fresh_seconds=15, clock=clock)
    samples.take("p", replace(READY, sequence=7))
    clock.now += 10
    assert samples.take("p", replace(READY, sequence=7, phase=Phase.STOPPED)) == (Result.OLD, False)
    assert samples.take("p", replace(READY, sequence=1, start_id="b")).result is Result.OK, "a new start counts anew"


def test_what_is_gone_is_forgotten() -> None:
    samples = Samples(fresh_seconds=15)
    samples.take("p", READY)
    samples.take("q", REFUSED)
    samples.keep_only({"r"})
    assert (samples.fresh("p"), samples.silent("q")) == (None, None)


def running(name: str, address: str, *, ready: bool = True, phase: str = "Running") -> Pod:
    pod = a_pod(name, COMPONENT_REPLICA)
    conditions = (PodCondition(type="Ready", status="True" if ready else "False"),)
    status = msgspec.structs.replace(pod.status, phase=phase, pod_ip=address, conditions=conditions)
    return msgspec.structs.replace(pod, status=status)


class Scraping:
    """A scraper of some pods, and what it did."""

    def __init__(self, *pods: Pod, port: int) -> None:
        self.pods = list(pods)
        self.telemetry = Telemetry()
        self.woken: asyncio.Queue[Key] = asyncio.Queue()
        self.scraper = Scraper(
            pods=lambda: self.pods,
            wake=self.woken.put_nowait,
            telemetry=self.telemetry,
            interval_seconds=INTERVAL_SECONDS,
            port=port,
        )

    async def news(self) -> Key:
        return await asyncio.wait_for(self.woken.get(), WAIT_SECONDS)

    def count(self, result: Result) -> float:
        value = self.telemetry.registry.get_sample_value("gptoss_operator_scrapes_total", {"result": result})
        return value or 0.0

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not what():  # noqa: ASYNC110  (a server in this process has no event to offer)
                await asyncio.sleep(INTERVAL_SECONDS / 10)

    @asynccontextmanager
    async def work(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.scraper.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()


def test_every_replica_is_asked_again_and_again_over_one_connection() -> None:
    async def scenario() -> None:
        port = free_port()
        replicas = {f"127.0.0.{number}": Replica() for number in range(21, 46)}
        scraping = Scraping(*(running(f"chat-r{a[8:]}-0", a) for a in replicas), port=port)
        async with AsyncExitStack() as stack:
            for address, replica in replicas.items():
                await stack.enter_async_context(replica.serve(address, port))
            async with scraping.work():
                await asyncio.wait_for(scraping.scraper.asked_all.wait(), WAIT_SECONDS)
                assert min(replica.asked for replica in replicas.values()) >= 1
                await scraping.until(lambda: min(replica.asked for replica in replicas.values()) >= 4)
        assert {len(replica.transports) for replica in replicas.values()} == {1}
        assert len(replicas) <= scraping.woken.qsize() < 2 * len(replicas), "numbers alone wake nobody"
        assert scraping.count(Result.OK) >= 4 * len(replicas)

    asyncio.run(scenario())


def test_a_change_of_what_a_replica_says_wakes_its_deployment() -> None:
    async def scenario() -> None:
        port = free_port()
        replica = Replica(replace(READY, notice=None))
        pod = running("chat-r0-0", "127.0.0.11")
        scraping = Scraping(pod, port=port)
        fresh = scraping.scraper.samples.fresh
        async with scraping.work(), AsyncExitStack() as stack:
            await stack.enter_async_context(replica.serve("127.0.0.11", port))
            assert await scraping.news() == CHAT
            replica.state = replace(READY, sequence=1000)
            assert await scraping.news() == CHAT
            state = fresh(pod.metadata.uid)
            assert state is not None
            assert state.notice == READY.notice
            await stack.aclose()
            assert await scraping.news() == CHAT, "that it fell silent is news, a while later"
            assert fresh(pod.metadata.uid) is None
            scraping.pods.clear()
            await scraping.until(lambda: scraping.scraper.samples.silent(pod.metadata.uid) is None)

    asyncio.run(scenario())


def test_a_replica_that_hangs_does_not_hold_up_the_others() -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async def scenario() -> None:
        port = free_port()
        replica = Replica()
        pods = [running("chat-r0-0", "127.0.0.11"), running("chat-r1-0", "127.0.0.12")]
        scraping = Scraping(*pods, port=port)
        async with replica.serve("127.0.0.12", port), served(hang, "127.0.0.11", port), scraping.work():
            await scraping.until(lambda: replica.asked >= 5)
            assert scraping.count(Result.LATE) <= 2

    asyncio.run(scenario())


def test_pods_that_cannot_answer_are_not_asked() -> None:
    async def scenario() -> None:
        port = free_port()
        replica = Replica()
        leaving = running("chat-r3-0", "127.0.0.11")
        metadata = msgspec.structs.replace(leaving.metadata, deletion_timestamp=datetime(2026, 1, 1, tzinfo=UTC))
        pods = [
            running("chat-r0-0", "127.0.0.11", phase="Failed"),
            running("chat-r1-0", ""),
            running("chat-r2-0", "127.0.0.11", phase="Pending"),
            msgspec.structs.replace(leaving, metadata=metadata),
        ]
        scraping = Scraping(*pods, port=port)
        async with replica.serve("127.0.0.11", port), scraping.work():
            await asyncio.wait_for(scraping.scraper.asked_all.wait(), WAIT_SECONDS)
        assert replica.asked == 0

    asyncio.run(scenario())


def test_ready_replicas_that_cannot_be_reached_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        port = free_port()
        pods = [running(f"chat-r{n}-0", "127.0.0.11") for n in (0, 1)]
        starting = running("chat-r2-0", "127.0.0.11", ready=False)
        scraping = Scraping(*pods, starting, port=port)
        async with scraping.work():
            await scraping.until(lambda: scraping.count(Result.UNREACHABLE) >= 12)
            async with Replica().serve("127.0.0.11", port):
                await scraping.until(lambda: scraping.scraper.samples.silent("chat-r0-0-uid") is None)
                await scraping.until(lambda: scraping.count(Result.OK) >= 12)

    with caplog.at_level(logging.WARNING, logger="gptoss_operator.shell.scrape"):
        asyncio.run(scenario())
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "2 of 2 ready replicas do not say how they are, such as demo/chat-r0-0 at 127.0.0.11: "
    )
    assert "NetworkPolicy" in record.getMessage()


def test_a_pods_address_is_read_as_kubernetes_writes_it() -> None:
    raw = {"metadata": {"name": "x", "uid": "u", "resourceVersion": "1"}, "status": {"podIP": "10.0.0.1"}}
    assert msgspec.convert(raw, Pod).status.pod_ip == "10.0.0.1"
