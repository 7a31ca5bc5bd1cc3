"""Keys, limits and tokens through a whole gateway: the real HAProxy with the operator's configuration."""

import asyncio
import http.client
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.gateway.local import LocalGateway, local_gateway, write_secret
from e2e.gateway.replicas import simulated_replicas
from gptoss_runtime.activator.haproxy.runtime_api import RuntimeApi
from gptoss_runtime.activator.tenants.limits import read_table
from gptoss_runtime.gateway_contract import TENANT_TABLE, Socket


REPLICA = "127.0.53.11"
PATIENCE_SECONDS = 20.0
OLD, NEW, OTHER = "old-0123456789abcdef", "new-0123456789abcdef", "other-0123456789abc"
TIERS = [
    {"name": "gold", "priority": "High", "requestsPerSecond": 3},
    {"name": "tokens", "tokensPerMinute": 20},
]
BODY = json.dumps({"model": "openai/gpt-oss-20b", "messages": [{"role": "user", "content": "hi"}]})


@dataclass
class Client:
    """One connection that is kept open."""

    connection: http.client.HTTPConnection

    def ask(self, key: str, **headers: str) -> tuple[int, str]:
        """Return status and body."""
        fields = {"authorization": f"Bearer {key}", "content-type": "application/json", **headers}
        self.connection.request("POST", "/v1/chat/completions", BODY, fields)
        answer = self.connection.getresponse()
        return answer.status, answer.read().decode()

    def local_port(self) -> int:
        assert self.connection.sock is not None
        return int(self.connection.sock.getsockname()[1])


@pytest.fixture
def gateway() -> Iterator[LocalGateway]:
    keys = {"team-a": OLD, "team-gold": f"{OTHER} gold"}
    routing = {"apiKeys": {"secretName": "keys", "tiers": TIERS}}
    with simulated_replicas([REPLICA]) as (replica,), local_gateway([REPLICA], keys=keys, routing=routing) as started:
        replica.set(usage_port=usage_port(started))
        yield started


@pytest.fixture
def client(gateway: LocalGateway) -> Iterator[Client]:
    connection = http.client.HTTPConnection(gateway.address, gateway.port, timeout=PATIENCE_SECONDS)
    yield Client(connection)
    connection.close()


def usage_port(gateway: LocalGateway) -> int:
    """Return the port that the activator was told to take reports on."""
    environment = Path(f"/proc/{gateway.parts['activator'].process.pid}/environ").read_text().split("\0")
    return int(dict(entry.split("=", 1) for entry in environment if entry)["GPTOSS_USAGE_PORT"])


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def records(gateway: LocalGateway) -> list[dict[str, object]]:
    lines = [line for line in gateway.said("activator").splitlines() if line.startswith('{"time"')]
    return [record for record in map(json.loads, lines) if "tenant" in record]


def test_keys_come_and_go_while_a_connection_stays_open(gateway: LocalGateway, client: Client) -> None:
    assert client.ask(OLD)[0] == 200
    assert client.ask(NEW)[0] == 401
    port = client.local_port()

    write_secret(gateway.directory / "keys", {"team-a": f"{OLD}\n", "team-b": NEW})
    eventually(lambda: client.ask(NEW)[0] == 200)
    assert client.ask(OLD)[0] == 200

    write_secret(gateway.directory / "keys", {"team-b": f"{NEW}\nbad"})
    eventually(lambda: client.ask(OLD)[0] == 401)
    assert client.ask(NEW)[0] == 200
    assert client.local_port() == port
    assert "line 2 of the entry 'team-b' is not used" in gateway.said("activator")


def test_the_log_has_the_tenant_of_the_key_and_the_tokens(gateway: LocalGateway, client: Client) -> None:
    assert client.ask(OLD, **{"x-gptoss-tenant": "somebody-else"})[0] == 200
    eventually(lambda: bool(records(gateway)))
    found = records(gateway)[0]
    assert [found[name] for name in ("tenant", "tokens_in", "tokens_out", "replica", "ended")] == [
        *("team-a", 7, 5, REPLICA, "completed"),
    ]
    with urllib.request.urlopen(f"http://{gateway.address}:{gateway.activator_port}/metrics") as answer:
        metrics = answer.read().decode()
    assert 'gptoss_gateway_requests_total{code="200",ended="completed",tenant="team-a"} 1.0' in metrics
    assert f'gptoss_gateway_replica_up{{replica="{REPLICA}"}} 1.0' in metrics
    with urllib.request.urlopen(f"http://{gateway.address}:{gateway.activator_port}/state") as answer:
        state = json.loads(answer.read())
    assert (state["counters"]["arrivals"], state["counters"]["prompt_tokens"]) == (1, 7)


def test_a_tier_has_its_rate(gateway: LocalGateway, client: Client) -> None:
    statuses = [client.ask(OTHER)[0] for _ in range(6)]
    table = asyncio.run(RuntimeApi(gateway.run / Socket.RUNTIME).ask(f"show table {TENANT_TABLE}"))
    assert read_table(table)["team-gold"].requests in {3, 4}
    assert statuses.count(429) >= 1
    assert statuses[:3] == [200, 200, 200]
    assert [client.ask(OLD)[0] for _ in range(6)] == [200] * 6


def test_a_tenant_without_tokens_left_is_told_how_long(gateway: LocalGateway, client: Client) -> None:
    write_secret(gateway.directory / "keys", {"team-a": OLD, "team-tokens": f"{NEW} tokens"})
    eventually(lambda: client.ask(NEW)[0] == 200)
    eventually(lambda: client.ask(NEW)[0] == 429)
    client.connection.request("POST", "/v1/chat/completions", BODY, {"authorization": f"Bearer {NEW}"})
    answer = client.connection.getresponse()
    assert json.loads(answer.read())["error"]["code"] == "tokens_exceeded"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert client.ask(OLD)[0] == 200
