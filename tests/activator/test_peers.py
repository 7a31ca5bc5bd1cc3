"""Gateways tell each other what the tenants do."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from e2e.ports import free_ports
from gptoss_runtime.activator.tenants.datagrams import Peer, read_datagram, reports
from gptoss_runtime.activator.tenants.limits import NOTHING, Use
from gptoss_runtime.activator.tenants.peers import GONE_SECONDS, STALE_SECONDS, Peers
from gptoss_runtime.activator.tenants.usage_port import UsagePort, usage_port
from gptoss_runtime.gateway_contract import Usage
from tests.runtime.harness import PATIENCE_SECONDS, scenario


HERE, THERE = "127.0.52.11", "127.0.52.12"
USES = {f"tenant-{number}": Use(requests=number, running=1, tokens=70) for number in range(50)}


def a_peer(**uses: tuple[int, int, int]) -> Peer:
    return Peer(id="other", uses=uses)


def test_reports_are_small_and_say_everything() -> None:
    datagrams = list(reports("me", {**USES, "idle": NOTHING}))
    assert max(map(len, datagrams)) < 1400
    read = [read_datagram(datagram) for datagram in datagrams]
    told: dict[str, tuple[int, int, int]] = {}
    for report in read:
        assert isinstance(report, Peer)
        told |= report.uses
    assert told == {name: (use.requests, use.running, use.tokens) for name, use in USES.items()}


def test_who_has_nothing_to_say_says_so() -> None:
    assert [read_datagram(datagram) for datagram in reports("me", {"idle": NOTHING})] == [Peer(id="me", uses={})]


@given(st.binary(max_size=200))
def test_noise_is_nothing(noise: bytes) -> None:
    assert read_datagram(noise) is None


def test_what_is_close_to_a_datagram_is_nothing() -> None:
    usage = {"id": "a", "tenant": "t", "prompt_tokens": 1, "generation_tokens": 2}
    assert read_datagram(json.dumps({"version": 1, "usage": usage}).encode()) == Usage(**usage)  # type: ignore[arg-type]
    near: list[object] = [
        {"version": 2, "usage": usage},
        {"version": 1, "usage": {**usage, "prompt_tokens": -1}},
        {"version": 1, "usage": {**usage, "id": 7}},
        {"version": 1},
        {"version": 1, "peer": {"id": "x", "uses": {"t": [1, 2]}}},
        {"version": 1, "peer": {"id": "x", "uses": {"t": [1, 2, -3]}}},
        [],
    ]
    for document in near:
        assert read_datagram(json.dumps(document).encode()) is None


def test_only_gateways_of_the_deployment_are_listened_to() -> None:
    peers = Peers("me", frozenset({HERE, THERE}))
    assert not peers.heard(a_peer(t=(5, 5, 5)), "127.0.52.99", 0.0)
    assert peers.heard(Peer(id="me", uses={"t": (9, 9, 9)}), HERE, 0.0)
    assert peers.others(0.0) == 0
    assert peers.heard(a_peer(t=(5, 4, 3)), THERE, 0.0)
    assert (peers.others(0.0), peers.uses("t", 0.0)) == (1, [Use(requests=5, running=4, tokens=3)])


def test_what_was_said_grows_old() -> None:
    peers = Peers("me", frozenset({THERE}))
    peers.heard(a_peer(t=(5, 5, 5), u=(1, 1, 1)), THERE, 0.0)
    peers.heard(a_peer(u=(2, 2, 2)), THERE, STALE_SECONDS)
    assert peers.uses("t", STALE_SECONDS) == [NOTHING]
    assert peers.uses("u", STALE_SECONDS) == [Use(requests=2, running=2, tokens=2)]
    assert peers.others(STALE_SECONDS + GONE_SECONDS - 0.01) == 1
    assert peers.others(STALE_SECONDS + GONE_SECONDS) == 0
    assert peers.uses("u", STALE_SECONDS + GONE_SECONDS) == []


@dataclass
class Gateway:
    """The usage port of one gateway, and what came to it."""

    peers: Peers
    port: UsagePort = field(init=False)
    usages: list[Usage] = field(default_factory=list)
    bad: int = 0
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def count_bad(self) -> None:
        self.bad += 1

    async def until_heard(self, tenant: str, use: Use) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.peers.uses(tenant, 0.0) != [use]:
                self.came.clear()
                await self.came.wait()


@asynccontextmanager
async def a_gateway(address: str, port: int) -> AsyncIterator[Gateway]:
    peers = Peers(address, frozenset({HERE, THERE}))
    gateway = Gateway(peers)
    async with usage_port(
        address,
        port,
        on_usage=gateway.usages.append,
        on_peer=lambda report, sender: peers.heard(report, sender, 0.0),
        on_bad=gateway.count_bad,
        on_read=gateway.came.set,
    ) as gateway.port:
        yield gateway


@scenario
async def test_two_gateways_hear_each_other_and_nobody_else() -> None:
    port = free_ports(1)[0]
    async with a_gateway(HERE, port) as here, a_gateway(THERE, port) as there:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.52.99", 0))
            stranger.sendto(next(reports("stranger", {"t": Use(requests=99)})), (THERE, port))
            stranger.sendto(b"noise", (THERE, port))
            usage = Usage(id="a", tenant="t", prompt_tokens=1, generation_tokens=2)
            stranger.sendto(usage.encode(), (THERE, port))
        here.port.send(reports(HERE, {"t": Use(requests=3)}), here.peers.addresses)
        await there.until_heard("t", Use(requests=3))
        there.port.send(reports(THERE, {"t": Use(requests=4)}), [HERE, "127.0.52.77", "not an address"])
        await here.until_heard("t", Use(requests=4))
        assert (there.bad, there.usages) == (2, [usage])
        assert (here.bad, here.peers.others(0.0)) == (0, 1)


@scenario
async def test_a_port_for_all_addresses_names_senders_as_dns_does() -> None:
    port = free_ports(1)[0]
    senders: list[str] = []
    came = asyncio.Event()

    def heard(_: Peer, sender: str) -> bool:
        senders.append(sender)
        came.set()
        return True

    async with (
        usage_port(None, port, on_usage=print, on_peer=heard, on_bad=print, on_read=print) as opened,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        opened.send(reports("me", {}), [HERE])
        await came.wait()
    assert senders == ["127.0.0.1"]
