"""One limit over several gateways: their quotas, ports and maps, in one process."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.ports import free_ports
from gptoss_runtime.activator.background import background
from gptoss_runtime.activator.haproxy.maps import Maps
from gptoss_runtime.activator.haproxy.runtime_api import RuntimeApi
from gptoss_runtime.activator.tenants.datagrams import Peer
from gptoss_runtime.activator.tenants.limits import Use
from gptoss_runtime.activator.tenants.peers import Peers
from gptoss_runtime.activator.tenants.quotas import Quotas, find_gateways
from gptoss_runtime.activator.tenants.usage_port import usage_port
from gptoss_runtime.gateway_contract import Map, Socket, Tier
from tests.runtime.harness import PATIENCE_SECONDS, scenario


ADDRESSES = ("127.0.55.11", "127.0.55.12")
TIERS = {
    "rated": Tier(name="rated", requests_per_second=100),
    "counted": Tier(name="counted", tokens_per_minute=1000),
}


@dataclass
class Gateway:
    run: Path
    quotas: Quotas
    peers: Peers

    def map(self, name: Map) -> str:
        return (self.run / name).read_text()

    async def has(self, name: Map, text: str) -> None:
        """Wait until a map's file says this."""
        await until(lambda: self.map(name) == text)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0.01)


def _nothing() -> None:
    """Hear that a batch was read."""


@asynccontextmanager
async def a_gateway(run: Path, address: str, port: int) -> AsyncIterator[Gateway]:
    # No HAProxy answers here: files are written all the same.
    runtime = RuntimeApi(run / Socket.RUNTIME)
    maps = Maps(run, runtime)
    peers = Peers(address, frozenset(ADDRESSES))
    quotas = Quotas(maps, runtime, peers)
    quotas.grant(TIERS)

    def heard(report: Peer, sender: str) -> bool:
        return peers.heard(report, sender, asyncio.get_running_loop().time())

    async with (
        usage_port(address, port, on_usage=print, on_peer=heard, on_bad=print, on_read=_nothing) as opened,
        background(quotas.keep(opened)),
    ):
        yield Gateway(run, quotas, peers)


@scenario
async def test_tokens_used_at_one_gateway_block_at_all(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    runs = (tmp_path / "one", tmp_path / "two")
    for run in runs:
        run.mkdir()
    async with a_gateway(runs[0], ADDRESSES[0], port) as one, a_gateway(runs[1], ADDRESSES[1], port) as two:
        one.quotas.count_tokens("counted", 600)
        one.quotas.count_tokens("nobody", 10**6)
        await two.has(Map.BLOCKED, "")
        two.quotas.count_tokens("counted", 400)
        await until(lambda: bool(one.map(Map.BLOCKED) and two.map(Map.BLOCKED)))
        # His rights change, and he may go on.
        two.quotas.grant({"counted": Tier(name="counted", tokens_per_minute=10_000)})
        await two.has(Map.BLOCKED, "")


@scenario
async def test_rates_follow_what_the_others_do_and_come_back_when_they_are_gone(tmp_path: Path) -> None:
    async with a_gateway(tmp_path, ADDRESSES[0], free_ports(1)[0]) as one:
        await one.has(Map.RATES, "rated 100\n")
        now = asyncio.get_running_loop().time()
        use = Use(requests=30, running=1, tokens=0)
        one.peers.heard(Peer(id="two", uses={"rated": (use.requests, use.running, use.tokens)}), ADDRESSES[1], now)
        await one.has(Map.RATES, "rated 70\n")
        await one.has(Map.RATES, "rated 100\n")


@scenario
async def test_gateways_are_found_by_name_and_kept_while_dns_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = Peers("me")
    async with background(find_gateways(peers, "localhost")):
        await until(lambda: "127.0.0.1" in peers.addresses)
    known = peers.addresses

    asked = asyncio.Event()

    async def away(*_: object) -> None:
        asked.set()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", away)
    async with asyncio.timeout(PATIENCE_SECONDS), background(find_gateways(peers, "localhost")):
        await asked.wait()
    assert peers.addresses == known
