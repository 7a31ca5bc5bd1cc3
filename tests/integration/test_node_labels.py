"""Machines of clusters without Karpenter: nodes say by labels what they are, and by taints that they go."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from e2e.children import eventually
from e2e.cluster.provider import Cluster
from e2e.kubectl import Kubectl
from e2e.watch import condition, until
from tests.integration.asking import SETTLE_SECONDS, deployment, settle
from tests.integration.fleets import Replica, created_at, events, nodes_by_name, ready_replicas
from tests.integration.labelled_nodes import FLEET_LABEL, LABELLINGS, ON_DEMAND, SPOT, Labelling, fleet_of, machine
from tests.integration.simulated import Simulated, hearing_operator, simulated_traffic


MACHINES = {
    "base-1": (ON_DEMAND, "zone-a"),
    "base-2": (ON_DEMAND, "zone-b"),
    "spot-a1": (SPOT, "zone-a"),
    "spot-a2": (SPOT, "zone-a"),
    "spot-b1": (SPOT, "zone-b"),
    "spot-b2": (SPOT, "zone-b"),
    "spot-c1": (SPOT, "zone-c"),
    "spot-c2": (SPOT, "zone-c"),
}
ZONE_LABEL = "topology.kubernetes.io/zone"
TAINTS = {
    "karpenter": "karpenter.sh/disrupted",
    "aws": "aws-node-termination-handler/spot-itn",
    "gke": "cloud.google.com/impending-node-termination",
    "cluster autoscaler": "ToBeDeletedByClusterAutoscaler",
}
"""Taints by which controllers say that a node goes."""
NOTICES = {
    **{by: {"spec": {"taints": [{"key": key, "effect": "NoSchedule"}]}} for by, key in TAINTS.items()},
    "aks": {"status": {"conditions": [{"type": "PreemptScheduled", "status": "True", "reason": "PreemptScheduled"}]}},
}
"""Patches by which they do so; AKS's is a condition."""
EKS = LABELLINGS[0]
LOG = "operator.log"
NOTICE_SECONDS = 120
FALLBACK_SECONDS = 5
LONG_BEFORE_NOT_READY_SECONDS = 30
"""A node whose machine has gone stays Ready for about 40 s."""


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """What a test opens, to be closed after it."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def traffic(installed: Cluster, user: Kubectl, tmp_path: Path) -> Iterator[Simulated]:
    """Simulated pods that answer, and an operator that asks them."""
    with (
        simulated_traffic(installed, user, tmp_path) as traffic,
        hearing_operator(installed, user.namespace, tmp_path / LOG),
    ):
        yield traffic


def on_spot(user: Kubectl, replicas: int) -> dict[str, Any]:
    return deployment(
        tensorParallel=1,
        gpu={"type": "H100-80GB", "nodeSelector": {FLEET_LABEL: user.namespace}},
        scaling={"minReplicas": replicas, "maxReplicas": replicas},
        spot={"enabled": True, "baseOnDemand": 1, "fallbackSeconds": 20, "maxExtra": 0},
        drainSeconds=5,
    )


def replaced(user: Kubectl, gone: Replica, count: int) -> bool:
    found = ready_replicas(user)
    return len(found) == count and gone.uid not in {replica.uid for replica in found}


def a_spot_replica(user: Kubectl) -> Replica:
    return next(replica for replica in ready_replicas(user) if "spot" in replica.node)


def one_of_three(user: Kubectl, opened: ExitStack) -> Replica:
    """Return a replica on spot of three that have settled."""
    opened.enter_context(fleet_of(user, EKS, MACHINES))
    user.apply(on_spot(user, 3))
    settle(user)
    return a_spot_replica(user)


@pytest.mark.usefixtures("traffic")
@pytest.mark.parametrize("labelling", LABELLINGS, ids=lambda labelling: labelling.name)
def test_replicas_get_the_machines_that_labels_tell(user: Kubectl, opened: ExitStack, labelling: Labelling) -> None:
    opened.enter_context(fleet_of(user, labelling, MACHINES))
    user.apply(on_spot(user, 4))

    obj = settle(user)

    nodes = nodes_by_name(user, f"{FLEET_LABEL}={user.namespace}")
    placed = [(replica.wanted, replica.node.removeprefix(f"{user.namespace}-")) for replica in ready_replicas(user)]
    assert sorted(MACHINES[name][0] for _, name in placed) == [ON_DEMAND, SPOT, SPOT, SPOT]
    assert all(wanted == MACHINES[name][0] for wanted, name in placed)
    zones = {nodes[machine(user, name)]["metadata"]["labels"][ZONE_LABEL] for wanted, name in placed if wanted == SPOT}
    assert zones == {"zone-a", "zone-b", "zone-c"}
    assert (obj["status"]["onDemand"], obj["status"]["spot"]) == (
        {"desired": 1, "ready": 1},
        {"desired": 3, "ready": 3},
    )


@pytest.mark.usefixtures("traffic")
def test_on_demand_stands_in_when_no_spot_machine_comes_in_time(user: Kubectl, opened: ExitStack) -> None:
    opened.enter_context(fleet_of(user, EKS, {name: at for name, at in MACHINES.items() if at[0] == ON_DEMAND}))
    asked = on_spot(user, 2)
    asked["spec"]["spot"] |= {"fallbackSeconds": FALLBACK_SECONDS, "zones": ["zone-a"]}
    user.apply(asked)

    eventually(lambda: len(ready_replicas(user)) == 2, "both are ready", seconds=SETTLE_SECONDS)

    base, stand_in = sorted(ready_replicas(user), key=lambda replica: created_at(user, replica))
    assert (base.wanted, stand_in.wanted) == (ON_DEMAND, ON_DEMAND)
    # Times of the API server are whole seconds.
    assert created_at(user, stand_in) - created_at(user, base) >= timedelta(seconds=FALLBACK_SECONDS - 1)
    until(
        user,
        "chat",
        lambda obj: condition(obj, "CapacityAvailable")["reason"] == "SpotShort",
        timeout_seconds=SETTLE_SECONDS,
        show=False,
    )


@pytest.mark.usefixtures("traffic")
@pytest.mark.parametrize("notice", NOTICES.values(), ids=NOTICES)
def test_what_announces_a_node_s_end_replaces_its_replica_in_one_pass(
    user: Kubectl, opened: ExitStack, tmp_path: Path, notice: dict[str, Any]
) -> None:
    doomed = one_of_three(user, opened)

    part = ["--subresource=status"] if "status" in notice else []
    user("patch", "node", doomed.node, *part, "--type=strategic", "-p", json.dumps(notice))

    eventually(lambda: replaced(user, doomed, 3), "the replica is replaced", seconds=SETTLE_SECONDS)
    one_pass = rf"remove slot {doomed.name.removeprefix('chat-r')}: its machine will be taken away.*; create slot "
    assert re.search(one_pass, (tmp_path / LOG).read_text())
    obj = settle(user)
    assert doomed.node not in {replica.node for replica in ready_replicas(user)}
    zone = MACHINES[doomed.node.removeprefix(f"{user.namespace}-")][1]
    assert "suspectUntil" in next(each for each in obj["status"]["zones"] if each["zone"] == zone)


def test_what_a_replica_s_own_cloud_tells_it_replaces_it_as_well(
    user: Kubectl, traffic: Simulated, opened: ExitStack
) -> None:
    doomed = one_of_three(user, opened)

    traffic.notify(f"{doomed.name}-0", time.time() + NOTICE_SECONDS)

    eventually(lambda: replaced(user, doomed, 3), "the replica is replaced", seconds=SETTLE_SECONDS)
    assert any("simulated" in message for message in events(user, "InterruptionNotice"))


def test_a_node_that_is_deleted_without_notice_has_its_replica_replaced(
    user: Kubectl, traffic: Simulated, opened: ExitStack
) -> None:
    lost = one_of_three(user, opened)

    traffic.silence(f"{lost.name}-0")
    user("delete", "node", lost.node, "--wait=false")

    eventually(lambda: replaced(user, lost, 3), "the replica is replaced", seconds=LONG_BEFORE_NOT_READY_SECONDS)


def test_pitfall_24_a_machine_that_vanishes_is_replaced_while_its_node_still_says_ready(
    user: Kubectl, traffic: Simulated, opened: ExitStack
) -> None:
    lost = one_of_three(user, opened)

    traffic.silence(f"{lost.name}-0")

    until(
        user,
        "chat",
        lambda obj: obj["status"].get("replicas", 0) > 3,
        timeout_seconds=LONG_BEFORE_NOT_READY_SECONDS,
        show=False,
    )
    eventually(lambda: len(ready_replicas(user)) == 4, "another one stands in for it", seconds=SETTLE_SECONDS)


def test_pitfall_14_the_replica_with_the_fewest_requests_leaves_whatever_its_number(
    user: Kubectl, traffic: Simulated, opened: ExitStack
) -> None:
    opened.enter_context(fleet_of(user, EKS, MACHINES))
    user.apply(on_spot(user, 4))
    settle(user)
    spot = [replica for replica in ready_replicas(user) if replica.wanted == SPOT]
    idle = spot[0]
    traffic.keep_busy(*(f"{replica.name}-0" for replica in ready_replicas(user) if replica != idle))

    user.apply(on_spot(user, 3))

    eventually(lambda: replaced(user, idle, 3), "the idle one is gone", seconds=SETTLE_SECONDS)
