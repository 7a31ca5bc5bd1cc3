"""Asking gateways: over real sockets, each program at a loopback address of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import msgspec
import pytest
from aiohttp import web

from e2e.ports import free_ports
from gptoss_operator.api.names import LABEL_DEPLOYMENT
from gptoss_operator.core.objects import Pod
from gptoss_operator.shell.scrape import Scraper
from gptoss_operator.shell.store import Key
from gptoss_operator.shell.telemetry import Telemetry
from gptoss_runtime.gateway_contract import GatewayGauge, GatewayState
from tests.shell.hearing import CHAT, IDLE, a_gateway_pod, a_replica_pod
from tests.shell.replicas import INTERVAL_SECONDS, READY, WAIT_SECONDS, Replica, served


REPLICA, OTHER_REPLICA = "127.0.0.21", "127.0.0.22"
GATEWAY, OTHER_GATEWAY = "127.0.0.31", "127.0.0.32"
QUIET = replace(READY, notice=None)


class Gateway:
    """Says `state` with a new sequence number each time."""

    def __init__(self, state: GatewayState = IDLE) -> None:
        self.state = state
        self.asked = 0

    def says(self, **gauges: float) -> None:
        self.state = replace(self.state, gauges={**self.state.gauges, **gauges})

    def finds(self, **replicas: bool) -> None:
        self.state = replace(
            self.state, replicas={REPLICA if name == "replica" else name: up for name, up in replicas.items()}
        )

    async def answer(self, _: web.Request) -> web.StreamResponse:
        self.asked += 1
        self.state = replace(self.state, sequence=self.state.sequence + 1)
        return web.Response(text=self.state.encode())


class Hearing:
    """A scraper of gateways and replicas, and whom it woke."""

    def __init__(
        self,
        *,
        gateways: Iterable[Pod] = (),
        replicas: Iterable[Pod] = (),
        interval_seconds: float = INTERVAL_SECONDS,
        paced: bool = False,
        deployments: Iterable[Key] = (),
    ) -> None:
        self.gateways = list(gateways)
        self.replicas = list(replicas)
        self.woken: asyncio.Queue[Key] = asyncio.Queue()
        self.ports = free_ports(2)
        self.scraper = Scraper(
            pods=lambda: self.replicas,
            gateways=lambda: self.gateways,
            wake=self.woken.put_nowait,
            telemetry=Telemetry(),
            interval_seconds=interval_seconds,
            port=self.ports[0],
            gateway_port=self.ports[1],
            paced=lambda _: paced,
            deployments=lambda: deployments,
        )

    async def news(self) -> Key:
        return await asyncio.wait_for(self.woken.get(), WAIT_SECONDS)

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not what():  # noqa: ASYNC110  (a server in this process has no event to offer)
                await asyncio.sleep(0.02)

    def held(self) -> float | None:
        return self.scraper.load(self.gateways, self.replicas, CHAT).held

    def is_lost(self, slot: int = 0) -> bool:
        return self.scraper.reach.out_of_reach_since(a_replica_pod(slot).metadata.uid) is not None

    @asynccontextmanager
    async def of(self, replicas: dict[str, Replica], gateways: dict[str, Gateway]) -> AsyncIterator[AsyncExitStack]:
        """Run it. Who is served on the stack that is given can be lost by closing it."""
        async with AsyncExitStack() as mortal, AsyncExitStack() as stack:
            for address, replica in replicas.items():
                await mortal.enter_async_context(replica.serve(address, self.ports[0]))
            for address, gateway in gateways.items():
                await stack.enter_async_context(served(gateway.answer, address, self.ports[1]))
            task = asyncio.create_task(self.scraper.run())
            try:
                await asyncio.wait_for(self.scraper.asked_all.wait(), WAIT_SECONDS)
                yield mortal
            finally:
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled()


def test_pitfall_26_the_first_held_request_wakes_a_deployment_that_has_no_pod_and_no_series() -> None:
    async def scenario() -> None:
        hearing, gateway = Hearing(gateways=[a_gateway_pod("a", GATEWAY)], interval_seconds=600), Gateway()
        async with hearing.of({}, {GATEWAY: gateway}):
            assert hearing.held() == 0
            assert hearing.woken.empty()
            gateway.says(**{GatewayGauge.HELD: 1})
            began = asyncio.get_running_loop().time()
            assert await hearing.news() == CHAT
            assert asyncio.get_running_loop().time() - began < 10, "not at the next interval"
            assert hearing.held() == 1
            await hearing.until(lambda: gateway.asked >= 4)
            assert hearing.woken.empty(), "what is held already wakes nobody"

    asyncio.run(scenario())


def test_gateways_of_a_deployment_that_is_served_are_asked_less_often() -> None:
    async def scenario() -> None:
        served_one, other = a_gateway_pod("a", GATEWAY), a_gateway_pod("b", OTHER_GATEWAY)
        labels = {**other.metadata.labels, LABEL_DEPLOYMENT: "other"}
        other = msgspec.structs.replace(other, metadata=msgspec.structs.replace(other.metadata, labels=labels))
        hearing = Hearing(gateways=[served_one, other], replicas=[a_replica_pod(0, REPLICA)], interval_seconds=600)
        gateways = {GATEWAY: Gateway(), OTHER_GATEWAY: Gateway()}
        async with hearing.of({REPLICA: Replica(QUIET)}, gateways):
            await hearing.until(lambda: gateways[OTHER_GATEWAY].asked >= 5)
            assert gateways[GATEWAY].asked <= 2, "at the start, and in its share of the interval"

    asyncio.run(scenario())


def test_a_paced_deployment_is_woken_once_in_an_interval_and_others_never() -> None:
    async def scenario(*, paced: bool) -> tuple[int, int]:
        gateways = {f"127.0.0.{number}": Gateway() for number in (31, 32, 33)}
        pods = [a_gateway_pod(address[-2:], address) for address in gateways]
        hearing = Hearing(gateways=pods, replicas=[a_replica_pod(0, REPLICA)], paced=paced)
        async with hearing.of({REPLICA: Replica(QUIET)}, gateways):
            await hearing.news()  # the replica's first words
            before = gateways["127.0.0.31"].asked
            await hearing.until(lambda: gateways["127.0.0.31"].asked >= before + 6)
            return hearing.woken.qsize(), 6

    woken, rounds = asyncio.run(scenario(paced=True))
    assert rounds - 2 <= woken <= rounds + 1
    assert asyncio.run(scenario(paced=False))[0] == 0


def test_a_deployment_whose_gateways_are_silent_is_still_woken() -> None:
    async def scenario() -> None:
        hearing = Hearing(gateways=[a_gateway_pod("a", GATEWAY)], paced=True)
        async with hearing.of({}, {}):
            assert [await hearing.news() for _ in range(3)] == [CHAT] * 3
            assert hearing.held() is None

    asyncio.run(scenario())


def test_a_deployment_that_has_no_gateway_and_no_replica_that_runs_is_still_woken() -> None:
    async def scenario() -> None:
        hearing = Hearing(paced=True, deployments=(CHAT,))
        async with hearing.of({}, {}):
            assert [await hearing.news() for _ in range(3)] == [CHAT] * 3

    asyncio.run(scenario())


def test_only_gateways_that_nothing_is_known_of_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    def warnings() -> list[str]:
        return [record.message for record in caplog.records if record.levelname == "WARNING"]

    async def scenario() -> None:
        hearing = Hearing(gateways=[a_gateway_pod("a", GATEWAY)], paced=True)
        async with AsyncExitStack() as stack:
            # It answers before it is asked: one that nothing is known of would be warned of.
            gateway = await stack.enter_async_context(AsyncExitStack())
            await gateway.enter_async_context(served(Gateway().answer, GATEWAY, hearing.ports[1]))
            await stack.enter_async_context(hearing.of({}, {}))
            await hearing.until(lambda: hearing.held() == 0)
            await gateway.aclose()
            for _ in range(3):
                await hearing.news()
            assert warnings() == [], "it has said something a moment ago"

            hearing.gateways.append(a_gateway_pod("b", OTHER_GATEWAY))
            await hearing.until(lambda: bool(warnings()))
            for _ in range(6):
                await hearing.news()

    asyncio.run(scenario())
    (warning,) = warnings()
    assert warning.startswith("1 of 2 ready gateways do not say how many requests there are, such as demo/chat-g")


@pytest.mark.parametrize("how", ["says so first", "is asked then"])
def test_pitfall_24_a_replica_that_vanished_is_told_of_when_gateways_lost_it_too(how: str) -> None:
    async def scenario() -> None:
        pods = [a_gateway_pod("a", GATEWAY), a_gateway_pod("b", OTHER_GATEWAY)]
        # An interval in which nobody would be asked again: what is found out is found out by suspicion alone.
        interval = 600 if how == "says so first" else INTERVAL_SECONDS
        hearing = Hearing(gateways=pods, replicas=[a_replica_pod(0, REPLICA)], interval_seconds=interval)
        gateways = {GATEWAY: Gateway(), OTHER_GATEWAY: Gateway()}
        for gateway in gateways.values():
            gateway.finds(replica=True)
        async with hearing.of({REPLICA: Replica(QUIET)}, gateways) as replicas:
            await hearing.news()
            await replicas.aclose()
            for gateway in gateways.values():
                gateway.finds(replica=False)
            if interval == 600:
                await hearing.scraper._gateways.ask(CHAT)  # noqa: SLF001 - the next interval
            assert await hearing.news() == CHAT
            assert hearing.is_lost()

    asyncio.run(scenario())


def test_a_replica_that_only_the_operator_does_not_reach_is_not_lost() -> None:
    async def scenario() -> None:
        pods = [a_gateway_pod("a", GATEWAY), a_gateway_pod("b", OTHER_GATEWAY)]
        hearing = Hearing(gateways=pods, replicas=[a_replica_pod(0, REPLICA)])
        gateways = {GATEWAY: Gateway(), OTHER_GATEWAY: Gateway()}
        gateways[GATEWAY].finds(replica=False)
        gateways[OTHER_GATEWAY].finds(replica=True)
        async with hearing.of({REPLICA: Replica(QUIET)}, gateways) as replicas:
            await replicas.aclose()
            before = gateways[GATEWAY].asked
            await hearing.until(lambda: gateways[GATEWAY].asked >= before + 12)
            assert not hearing.is_lost()

            gateways[OTHER_GATEWAY].finds(replica=False)
            await hearing.until(hearing.is_lost)
            async with Replica(replace(QUIET, sequence=1000)).serve(REPLICA, hearing.ports[0]):
                await hearing.until(lambda: not hearing.is_lost())

    asyncio.run(scenario())


def test_without_a_gateway_that_answers_silence_is_evidence_of_nothing() -> None:
    async def scenario() -> None:
        hearing = Hearing(
            gateways=[a_gateway_pod("a", GATEWAY)],
            replicas=[a_replica_pod(0, REPLICA), a_replica_pod(1, OTHER_REPLICA)],
        )
        other = Replica(QUIET)
        async with other.serve(OTHER_REPLICA, hearing.ports[0]), hearing.of({REPLICA: Replica(QUIET)}, {}) as replicas:
            await replicas.aclose()
            before = other.asked
            await hearing.until(lambda: other.asked >= before + 10)
            assert not hearing.is_lost()

    asyncio.run(scenario())
