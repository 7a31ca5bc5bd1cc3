"""A spot market that is real up to the machines: Karpenter buys what our replicas wait for, and a zone dries up."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from e2e.children import eventually
from e2e.cluster.local.karpenter import (
    CAPACITY_LABEL,
    MARKET_LABEL,
    MARKET_VALUE,
    ON_DEMAND,
    ON_DEMAND_PRICE,
    SPOT,
    SPOT_PRICES,
    ZONE_LABEL,
    ZONES,
    pool_name,
    prepare_market,
    running_market,
)
from e2e.cluster.provider import GPU_RESOURCE, Cluster
from e2e.kubectl import Kubectl
from e2e.shown import shown
from e2e.watch import condition, until
from tests.integration.asking import deployment
from tests.integration.fleets import creations, events, nodes_by_name, ready_replicas
from tests.integration.simulated import Simulated, hearing_operator, simulated_traffic


TEST_SECONDS = 300
STEP_SECONDS = 60
BLOCKED_SECONDS = 60 + STEP_SECONDS
"""A zone that gave no machine is not asked for one for a minute."""
ONE_PASS_SECONDS = 2
"""Between the first and the last replacement of one pass; the API server's times are whole seconds."""
REQUESTS_PER_REPLICA = 75
"""Of the hundred that one may run at once, by the default of spec.scaling.target.utilizationPercent."""


class Market:
    """The machines that can be had, and what becomes of those that were."""

    def __init__(self, user: Kubectl) -> None:
        self.user = user

    def close(self, *zones: str) -> None:
        """Offer no more spot machines in these zones."""
        self._limit(zones, {GPU_RESOURCE: "0"})

    def open(self, *zones: str) -> None:
        """Offer spot machines again."""
        self._limit(zones, None)

    def reclaim(self, zone: str) -> None:
        """Take the spot machines of a zone away, with the notice that Karpenter gives: taints, then evictions."""
        wanted = f"{CAPACITY_LABEL}={SPOT},{ZONE_LABEL}={zone}"
        self.user("delete", "nodeclaims.karpenter.sh", f"--selector={wanted}", "--wait=false")

    def _limit(self, zones: tuple[str, ...], limits: dict[str, str] | None) -> None:
        patch = json.dumps({"spec": {"limits": limits}})
        for zone in zones:
            self.user("patch", "nodepool", pool_name(SPOT, zone), "--type=merge", f"--patch={patch}")


@pytest.fixture(scope="module")
def karpenter(request: pytest.FixtureRequest, installed: Cluster) -> Iterator[Cluster]:
    """The cluster, with Karpenter in it."""
    with shown(request):
        prepare_market()
    with running_market(installed):
        yield installed


@pytest.fixture
def market(user: Kubectl) -> Iterator[Market]:
    """All offers open, before and after."""
    market = Market(user)
    yield market
    market.open(*ZONES)


@pytest.fixture
def traffic(karpenter: Cluster, user: Kubectl, tmp_path: Path) -> Iterator[Simulated]:
    """Simulated pods with traffic, and an operator that hears them."""
    with (
        simulated_traffic(karpenter, user, tmp_path) as traffic,
        hearing_operator(karpenter, user.namespace, tmp_path / "operator.log"),
    ):
        yield traffic


def on_market() -> dict[str, Any]:
    prices = [
        {"capacityType": "OnDemand", "gpuHour": f"{ON_DEMAND_PRICE:.2f}"},
        *({"capacityType": "Spot", "zone": zone, "gpuHour": f"{price:.2f}"} for zone, price in SPOT_PRICES.items()),
    ]
    return deployment(
        tensorParallel=1,
        gpu={
            "type": "H100-80GB",
            "nodeSelector": {MARKET_LABEL: MARKET_VALUE},
            "tolerations": [{"key": MARKET_LABEL, "operator": "Exists"}],
        },
        scaling={"minReplicas": 3, "maxReplicas": 6, "up": {"replicas": 6, "periodSeconds": 5}},
        spot={
            "enabled": True,
            "baseOnDemand": 1,
            "fallbackSeconds": 5,
            "returnSeconds": 3,
            "onDemandMinSeconds": 10,
            "zoneSuspectSeconds": 10,
            "maxExtra": 0,
            "zones": list(ZONES),
        },
        prices=prices,
        routing={"gateway": {"replicas": 1}},
        drainSeconds=5,
    )


def load_for(replicas: int) -> float:
    """Return requests at once that need so many replicas, by a small margin."""
    return REQUESTS_PER_REPLICA * (replicas - 0.3)


def placed(user: Kubectl) -> Counter[tuple[str, str]]:
    """Return how many ready replicas there are by the machine's own capacity type and zone."""
    nodes = nodes_by_name(user, f"{MARKET_LABEL}={MARKET_VALUE}")
    labels = [nodes[r.node]["metadata"]["labels"] for r in ready_replicas(user) if r.node in nodes]
    return Counter((each[CAPACITY_LABEL], each[ZONE_LABEL]) for each in labels)


def kinds(user: Kubectl) -> Counter[str]:
    """Return how many ready replicas there are by capacity type."""
    counted: Counter[str] = Counter()
    for (kind, _), number in placed(user).items():
        counted[kind] += number
    return counted


@contextmanager
def counting_ready(user: Kubectl) -> Iterator[list[int]]:
    """Collect every number of ready replicas that the status shows; the list is filled when the block ends."""
    command = user.command("get", "gptoss", "chat", "--watch", "-o", r"jsonpath={.status.readyReplicas}{'\n'}")
    seen: list[int] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as watch:
        try:
            yield seen
        finally:
            watch.kill()
            said, _ = watch.communicate()
            seen.extend(int(line) for line in said.split())


@pytest.mark.timeout(TEST_SECONDS, func_only=True)
def test_replicas_follow_the_load_through_a_spot_market_that_dries_up_and_returns(
    user: Kubectl, market: Market, traffic: Simulated
) -> None:
    a_zone_has_no_machines(user, market)
    base = next(replica for replica in ready_replicas(user) if replica.wanted == ON_DEMAND)
    with counting_ready(user) as ready:
        traffic.change(in_flight=load_for(5))
        eventually(lambda: kinds(user)[SPOT] == 4, "replicas follow the load", seconds=STEP_SECONDS)
        a_zone_is_lost(user, market)
        all_spot_is_lost(user, market)
        spot_returns(user, market)
    assert min(ready) > 0
    assert base.uid in {replica.uid for replica in ready_replicas(user)}, "it was never in question"
    told = " ".join(decision["reason"] for decision in user.json("get", "gptoss", "chat")["status"]["decisions"])
    assert "its machine will be taken away" in told
    assert "on demand while spot machines are short" in told
    assert "spot replicas serve in its place" in told


def a_zone_has_no_machines(user: Kubectl, market: Market) -> None:
    """The cheapest zone has none from the beginning: what waits there for too long goes elsewhere."""
    market.close("zone-a")
    user.apply(on_market())

    eventually(
        lambda: placed(user).keys() >= {(SPOT, "zone-b"), (SPOT, "zone-c")} and kinds(user) == {ON_DEMAND: 1, SPOT: 2},
        "Karpenter has bought the first machines",
        seconds=STEP_SECONDS,
    )
    assert any("zone-a" in message for message in events(user, "ReplicaCreated")), "it was asked first"
    market.open("zone-a")


def a_zone_is_lost(user: Kubectl, market: Market) -> None:
    """All machines of the zone with most replicas are taken away, with notice."""
    spot = {zone: number for (kind, zone), number in placed(user).items() if kind == SPOT}
    zone = max(spot, key=lambda zone: spot[zone])
    before = creations(user).keys()
    market.close(zone)
    market.reclaim(zone)

    until(user, "chat", lambda obj: suspect(obj, zone), timeout_seconds=STEP_SECONDS, show=False)
    times = sorted(at for uid, at in creations(user).items() if uid not in before)
    assert (times[spot[zone] - 1] - times[0]).total_seconds() <= ONE_PASS_SECONDS, "in one pass, as many as it had"
    eventually(
        lambda: kinds(user)[SPOT] == 4 and not placed(user)[SPOT, zone],
        "the replacements are elsewhere",
        seconds=STEP_SECONDS,
    )
    assert any(zone in message for message in events(user, "ZoneSuspect"))


def suspect(obj: dict[str, Any], zone: str) -> bool:
    return any(each["zone"] == zone and "suspectUntil" in each for each in obj["status"].get("zones", []))


def all_spot_is_lost(user: Kubectl, market: Market) -> None:
    market.close(*ZONES)
    for zone in ZONES:
        market.reclaim(zone)

    eventually(lambda: kinds(user) == {ON_DEMAND: 5}, "on-demand machines stand in", seconds=STEP_SECONDS)
    until(
        user,
        "chat",
        lambda obj: condition(obj, "CapacityAvailable")["reason"] == "SpotShort",
        timeout_seconds=STEP_SECONDS,
        show=False,
    )


def spot_returns(user: Kubectl, market: Market) -> None:
    """After so many losses a good part of the replicas stays on demand for a while; the others leave for spot."""
    market.open(*ZONES)

    eventually(
        lambda: kinds(user)[SPOT] > 0 and kinds(user)[ON_DEMAND] < 5, "spot takes over again", seconds=BLOCKED_SECONDS
    )
