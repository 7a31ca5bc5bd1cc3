"""Asking all replicas, again and again."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest
from aiohttp import web

from e2e.ports import free_ports
from gptoss_operator.api.names import COMPONENT_REPLICA
from gptoss_operator.core.objects import Pod, PodCondition
from gptoss_operator.shell.samples import Result
from gptoss_operator.shell.scrape import Scraper
from gptoss_operator.shell.store import Key
from gptoss_operator.shell.telemetry import Telemetry
from tests.shell.builders import a_pod
from tests.shell.replicas import CHAT, INTERVAL_SECONDS, READY, WAIT_SECONDS, Replica, served


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
        port = free_ports(1)[0]
        replicas = {f"127.0.0.{number}": Replica() for number in range(21, 46)}
        scraping = Scraping(*(running(f"chat-r{a[8:]}-0", a) for a in replicas), port=port)
        async with AsyncExitStack() as stack:
            for address, replica in replicas.items():
                await stack.enter_async_context(replica.serve(address, port))
            async with scraping.work():
                await asyncio.wait_for(scraping.scraper.asked_all.wait(), WAIT_SECONDS)
                assert min(replica.asked for replica in replicas.values()) >= 1
                await scraping.until(lambda: min(replica.asked for replica in replicas.values()) >= 4)
                await scraping.until(lambda: scraping.count(Result.OK) >= 4 * len(replicas))
        assert {len(replica.transports) for replica in replicas.values()} == {1}
        assert len(replicas) <= scraping.woken.qsize() < 2 * len(replicas), "numbers alone wake nobody"

    asyncio.run(scenario())


def test_a_change_of_what_a_replica_says_wakes_its_deployment() -> None:
    async def scenario() -> None:
        port = free_ports(1)[0]
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
        port = free_ports(1)[0]
        replica = Replica()
        pods = [running("chat-r0-0", "127.0.0.11"), running("chat-r1-0", "127.0.0.12")]
        scraping = Scraping(*pods, port=port)
        async with replica.serve("127.0.0.12", port), served(hang, "127.0.0.11", port), scraping.work():
            await scraping.until(lambda: replica.asked >= 5)
            assert scraping.count(Result.LATE) <= 2

    asyncio.run(scenario())


def test_pods_that_cannot_answer_are_not_asked() -> None:
    async def scenario() -> None:
        port = free_ports(1)[0]
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
        port = free_ports(1)[0]
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


def test_replicas_that_speak_another_version_are_not_blamed_on_the_network(caplog: pytest.LogCaptureFixture) -> None:
    async def later(_: web.Request) -> web.StreamResponse:
        return web.Response(text='{"version": 99}')

    async def scenario() -> None:
        port = free_ports(1)[0]
        scraping = Scraping(running("chat-r0-0", "127.0.0.11"), port=port)
        async with served(later, "127.0.0.11", port), scraping.work():
            await scraping.until(lambda: bool(caplog.records))

    with caplog.at_level(logging.WARNING, logger="gptoss_operator.shell.scrape"):
        asyncio.run(scenario())
    (record,) = caplog.records
    assert "its document is of version 99; this operator reads 1. Use the server image" in record.getMessage()


def test_a_pods_address_is_read_as_kubernetes_writes_it() -> None:
    raw = {"metadata": {"name": "x", "uid": "u", "resourceVersion": "1"}, "status": {"podIP": "10.0.0.1"}}
    assert msgspec.convert(raw, Pod).status.pod_ip == "10.0.0.1"
