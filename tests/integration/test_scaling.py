"""Scaling and spot machines on a real API server: what it takes, what it is told, and what a dry run leaves alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.children import KINDS, children, eventually
from e2e.cluster.local.kwok import gpu_node
from e2e.cluster.provider import Cluster
from e2e.kubectl import Kubectl
from e2e.watch import condition, until
from tests.integration.asking import SETTLE_SECONDS, deployment, settle
from tests.integration.fleets import ready_replicas
from tests.integration.operator_process import OperatorProcess
from tests.integration.proxy import Strike, proxied


LABEL = "scaling-test"
ZONES = ("zone-a", "zone-b", "zone-c")
PRICES = [{"capacityType": "OnDemand", "gpuHour": "2.95"}, {"capacityType": "Spot", "gpuHour": "1.20"}]


@pytest.fixture
def machines(user: Kubectl) -> Iterator[str]:
    """Two on-demand machines and a spot one in each zone; what is yielded is the value of their label."""
    kinds = [("on-demand", zone) for zone in ZONES[:2]] + [("spot", zone) for zone in ZONES]
    names = []
    for kind, zone in kinds:
        node = gpu_node(f"{user.namespace}-{kind}-{zone}", zone=zone, capacity_type=kind)
        node["metadata"]["labels"][LABEL] = user.namespace
        user.apply(node)
        names.append(node["metadata"]["name"])
    yield user.namespace
    user("delete", "nodes", *names, "--wait=false")


def a_spot_deployment(machines: str, **spec: Any) -> dict[str, Any]:  # noqa: ANN401 - a raw object
    return deployment(
        tensorParallel=1,
        gpu={"type": "H100-80GB", "nodeSelector": {LABEL: machines}},
        spot={"enabled": True, "maxExtra": 0, "zones": list(ZONES)},
        prices=PRICES,
        **{"scaling": {"minReplicas": 3, "maxReplicas": 5}, **spec},
    )


@pytest.mark.usefixtures("running")
def test_replicas_ask_for_their_machines_and_each_decision_is_explained(user: Kubectl, machines: str) -> None:
    user.apply(a_spot_deployment(machines))
    status = settle(user)["status"]

    assert sorted(replica.wanted for replica in ready_replicas(user)) == ["on-demand", "spot", "spot"]
    assert all(f"-{replica.wanted}-" in replica.node for replica in ready_replicas(user))
    sets = user.items("statefulsets")
    assert all(s["spec"]["template"]["spec"]["affinity"]["nodeAffinity"] for s in sets)
    assert len({s["metadata"]["labels"]["gptoss.dev/revision"] for s in sets}) == 1
    assert (status["onDemand"], status["spot"]) == ({"desired": 1, "ready": 1}, {"desired": 2, "ready": 2})
    assert status["cost"]["hourly"] == "5.35"

    described = user("describe", "gptoss", "chat")
    assert "0 to 3: minReplicas; 3 replicas are asked for: 1 on demand and 2 on spot" in described
    assert "ScaledUp" in described
    assert "MetricsUnavailable" in described, "this operator asks nobody"
    listed = user("get", "gptoss", "chat")
    assert "3/3" in listed

    user("patch", "gptoss", "chat", "--type=merge", "-p", json.dumps({"spec": {"scaling": {"minReplicas": 4}}}))
    until(user, "chat", lambda o: o["status"].get("readyReplicas") == 4, timeout_seconds=SETTLE_SECONDS, show=False)
    decisions = settle(user)["status"]["decisions"]
    assert [(d["previous"], d["replicas"]) for d in decisions][-2:] == [(3, 4), (0, 3)]


def test_a_dry_run_writes_the_status_and_nothing_else(
    installed: Cluster, user: Kubectl, namespace: str, tmp_path: Path, machines: str
) -> None:
    user.apply(a_spot_deployment(machines, mode="DryRun"))
    strike = Strike()
    with (
        proxied(installed, tmp_path, strike) as kubeconfig,
        OperatorProcess(installed, namespace, tmp_path / "operator.log", kubeconfig=kubeconfig),
    ):
        obj = until(
            user,
            "chat",
            lambda o: condition(o, "Progressing")["reason"] == "DryRun",
            timeout_seconds=SETTLE_SECONDS,
            show=False,
        )
        last = obj["status"]["lastDecision"]
        assert (last["replicas"], last["dryRun"]) == (3, True)
        eventually(lambda: "dry run, nothing is changed" in user("describe", "gptoss", "chat"), "an event tells of it")
        assert children(user, "chat") == {}
        # Switched on, it does what it has said; switched to a dry run again, it leaves all that as it is.
        user("patch", "gptoss", "chat", "--type=merge", "-p", '{"spec":{"mode":"Active"}}')
        assert settle(user)["status"]["ready"] == "3/3"
        before = user.items(KINDS)
        change = {"spec": {"mode": "DryRun", "scaling": {"minReplicas": 5}}}
        user("patch", "gptoss", "chat", "--type=merge", "-p", json.dumps(change))
        until(
            user,
            "chat",
            lambda o: o["status"]["lastDecision"]["replicas"] == 5,
            timeout_seconds=SETTLE_SECONDS,
            show=False,
        )
        assert [c["metadata"]["resourceVersion"] for c in user.items(KINDS)] == [
            c["metadata"]["resourceVersion"] for c in before
        ]


@pytest.mark.usefixtures("running")
def test_a_time_zone_that_does_not_exist_is_refused_with_its_field(user: Kubectl) -> None:
    schedule = {"name": "office", "timeZone": "Mars/Olympus", "minReplicas": 2}
    user.apply(deployment(scaling={"schedules": [schedule]}))
    refused = until(
        user,
        "chat",
        lambda o: condition(o, "Accepted")["status"] == "False",
        timeout_seconds=SETTLE_SECONDS,
        show=False,
    )
    message = condition(refused, "Accepted")["message"]
    assert message.startswith("spec.scaling.schedules[office].timeZone: 'Mars/Olympus' is no time zone: use ")
    assert children(user, "chat") == {}


def test_a_whole_spec_of_scaling_is_taken(user: Kubectl) -> None:
    user.apply(
        a_spot_deployment(
            "x",
            scaling={
                "minReplicas": 0,
                "maxReplicas": 9,
                "schedules": [{"name": "x", "days": ["Mon"], "start": "08:00", "end": "19:30", "minReplicas": 2}],
                "budget": {"maxGpus": 16, "maxHourlyCost": "40.00"},
                "prediction": {"sameTimeLastWeek": True},
            },
        )
    )
    spec = user.json("get", "gptoss", "chat")["spec"]
    assert spec["scaling"]["target"]["queueDepth"] == 4
    assert spec["scaling"]["schedules"][0]["timeZone"] == "UTC"
    assert spec["spot"]["baseOnDemand"] == 1
