"""Spot machines through the whole plan: places, notices, losses, and what is told of them."""

from datetime import timedelta

import pytest

from gptoss_operator.core.observation import ChildKey
from tests.core.fleets import PRICES, ZONES, Fleet, a_load, a_spot_fleet, spot_slots


def test_replicas_are_spread_over_kinds_and_zones() -> None:
    fleet = a_spot_fleet()
    assert fleet.kinds() == {"on-demand": 1, "spot": 3}
    assert sorted(zone for kind, zone in fleet.where().values() if kind == "spot") == ["a", "b", "c"]
    assert (fleet.status["onDemand"], fleet.status["spot"]) == ({"desired": 1, "ready": 1}, {"desired": 3, "ready": 3})
    assert fleet.condition("CapacityAvailable")[:2] == ("True", "MachinesCome")
    assert "1 on demand and 3 on spot" in fleet.status["lastDecision"]["reason"]
    assert fleet.status["cost"]["hourly"] == "6.60"


def test_a_place_is_in_the_pod_and_not_in_the_revision() -> None:
    fleet = a_spot_fleet()
    applied = {a.key.name: a.manifest for plan in fleet.plans for a in plan.applies if a.key.kind == "StatefulSet"}
    (zone,) = {fleet.where()[slot][1] for slot in spot_slots(fleet)[:1]}
    spot = applied[f"chat-r{spot_slots(fleet)[0]}"]
    on_demand = next(m for m in applied.values() if m["metadata"]["labels"]["gptoss.dev/capacity-type"] == "on-demand")
    assert spot["metadata"]["labels"]["gptoss.dev/zone"] == zone
    assert spot["spec"]["template"]["metadata"]["labels"]["gptoss.dev/capacity-type"] == "spot"
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    terms = spot["spec"]["template"]["spec"]["affinity"]["nodeAffinity"][required]["nodeSelectorTerms"]
    assert terms[0]["matchExpressions"] == [
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]},
        {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]},
    ]
    tolerated = {t["key"] for t in spot["spec"]["template"]["spec"]["tolerations"]}
    assert {"nvidia.com/gpu", "kubernetes.azure.com/scalesetpriority", "cloud.google.com/gke-spot"} <= tolerated
    assert [t["key"] for t in on_demand["spec"]["template"]["spec"]["tolerations"]] == ["nvidia.com/gpu"]
    assert len({m["metadata"]["labels"]["gptoss.dev/revision"] for m in applied.values()}) == 1
    without = dict(spot["spec"]["selector"]["matchLabels"])
    assert set(without) == {"gptoss.dev/deployment", "app.kubernetes.io/component", "gptoss.dev/slot"}


def test_pools_are_chosen_by_price_and_ask_for_their_nodes() -> None:
    prices = [
        {"capacityType": "Spot", "pool": "h100", "gpuHour": "1.20"},
        {"capacityType": "Spot", "pool": "a100", "gpuHour": "0.80"},
        {"capacityType": "OnDemand", "gpuHour": "3"},
    ]
    pools = [{"name": name, "nodeSelector": {"gpu": name}} for name in ("h100", "a100")]
    fleet = Fleet(
        scaling={"minReplicas": 2, "maxReplicas": 2},
        spot={"enabled": True, "maxExtra": 0},
        gpu={"pools": pools},
        prices=prices,
    )
    fleet.tick()
    spot = next(
        a.manifest
        for a in fleet.plans[0].applies
        if a.manifest["metadata"]["labels"].get("gptoss.dev/capacity-type") == "spot"
    )
    assert spot["metadata"]["labels"]["gptoss.dev/pool"] == "a100"
    terms = spot["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    assert "{'key': 'gpu', 'operator': 'In', 'values': ['a100']}" in str(terms)


def test_on_demand_machines_stand_in_while_spot_ones_are_short_and_leave_again() -> None:
    fleet = a_spot_fleet(fallbackSeconds=30, onDemandMinSeconds=60, returnSeconds=30)
    fleet.dry = {("spot", zone) for zone in ZONES}
    for slot in spot_slots(fleet):
        fleet.take_node(slot)
    fleet.tick(40)
    assert fleet.kinds()["on-demand"] == 4
    status, reason, message = fleet.condition("CapacityAvailable")
    assert (status, reason) == ("False", "SpotShort")
    assert "on-demand machines stand in" in message
    assert fleet.status["readyReplicas"] == 4
    fleet.dry = set()
    fleet.tick(1200)
    assert fleet.kinds()["spot"] >= 2, fleet.status["lastDecision"]
    assert fleet.condition("CapacityAvailable")[:2] == ("True", "MachinesCome")


def test_on_demand_machines_that_do_not_come_are_told_with_a_remedy() -> None:
    fleet = a_spot_fleet()
    fleet.dry = {("on-demand", "")}
    fleet.body["spec"]["spot"]["baseOnDemand"] = 2
    fleet.tick(30)
    assert fleet.condition("CapacityAvailable")[0] == "True", "a machine may take a while"
    fleet.tick(60)
    status, reason, message = fleet.condition("CapacityAvailable")
    assert (status, reason) == ("False", "MachinesShort")
    assert "raise the quota" in message


def test_switching_spot_off_brings_every_replica_to_any_machine_one_by_one() -> None:
    fleet = a_spot_fleet()
    fleet.ready_history.clear()
    del fleet.body["spec"]["spot"]
    fleet.settle()
    assert "spot" not in fleet.kinds()
    assert min(fleet.ready_history) >= 4
    assert "zones" not in fleet.status
    assert "spot" not in fleet.status


def test_switching_spot_on_moves_replicas_one_by_one_and_never_below_the_number() -> None:
    fleet = Fleet(scaling={"minReplicas": 3, "maxReplicas": 3})
    fleet.settle()
    fleet.ready_history.clear()
    fleet.body["spec"]["spot"] = {"enabled": True, "maxExtra": 0}
    fleet.settle()
    assert fleet.kinds() == {"on-demand": 1, "spot": 2}
    assert min(fleet.ready_history) >= 3


def test_a_replica_without_a_machine_moves_to_a_zone_that_has_some() -> None:
    fleet = a_spot_fleet(3, fallback="None", fallbackSeconds=30)
    fleet.dry = {("spot", "a"), ("spot", "b")}
    for slot in spot_slots(fleet):
        fleet.take_node(slot)
    fleet.tick(200)
    assert {zone for kind, zone in fleet.where().values() if kind == "spot"} >= {"c"}
    assert fleet.status["readyReplicas"] == 3


def test_the_zone_of_the_spec_is_the_only_one() -> None:
    fleet = Fleet(
        scaling={"minReplicas": 3, "maxReplicas": 3},
        spot={"enabled": True, "maxExtra": 0},
        gpu={"nodeSelector": {"topology.kubernetes.io/zone": "b"}},
    )
    fleet.settle()
    assert {zone for kind, zone in fleet.where().values() if kind == "spot"} == {"b"}


def test_extra_spot_replicas_are_not_kept_as_target_by_a_new_process() -> None:
    fleet = Fleet(scaling={"minReplicas": 1, "maxReplicas": 8}, spot={"enabled": True, "maxExtra": 2}, prices=PRICES)
    fleet.load = a_load(4.0)
    fleet.settle()
    target = fleet.status["desiredReplicas"]
    for _ in range(5):
        fleet.memory = None
        fleet.tick(3)
    assert fleet.status["desiredReplicas"] == target


def test_a_new_process_knows_the_market_and_the_starts() -> None:
    fleet = a_spot_fleet()
    victim = spot_slots(fleet)[0]
    zone = fleet.where()[victim][1]
    fleet.take_node(victim)
    fleet.settle()
    before = fleet.status
    assert next(z for z in before["zones"] if z["zone"] == zone)["suspectUntil"]
    fleet.memory = None
    fleet.now += timedelta(seconds=5)
    plan = fleet.tick()
    assert plan.memory is not None
    assert plan.memory.market.zones[zone, ""].events == pytest.approx(1.0, abs=0.05)
    assert plan.memory.starts == (60.0,) * before["coldStart"]["starts"]


def test_objects_of_an_earlier_release_have_no_place_and_stay_as_they_are() -> None:
    fleet = Fleet(replicas=2)
    fleet.settle()
    labels = fleet.children[ChildKey("StatefulSet", "chat-r0")].object.metadata.labels
    assert not any(name in labels for name in ("gptoss.dev/capacity-type", "gptoss.dev/zone", "gptoss.dev/pool"))
    manifest = next(a.manifest for a in fleet.plans[0].applies if a.key.name == "chat-r0")
    assert "affinity" not in manifest["spec"]["template"]["spec"]


def test_the_last_decision_is_not_about_spot_machines_any_more_when_there_are_none() -> None:
    fleet = a_spot_fleet()
    assert fleet.status["lastDecision"]["reason"].startswith("4 replicas are asked for: 1 on demand and 3 on spot; ")
    fleet.body["spec"]["spot"]["enabled"] = False
    fleet.settle()
    assert fleet.status["lastDecision"]["reason"] == "4 replicas are asked for"
    assert set(fleet.kinds()) <= {"", "on-demand"}


def test_many_replicas_of_one_kind_share_an_event() -> None:
    fleet = Fleet(replicas=200)
    plan = fleet.tick()
    (message,) = (note.message for note in plan.notes if note.reason == "ReplicaCreated")
    assert message.startswith("Create chat-r0, chat-r1, ")
    assert message.endswith(", chat-r19 and 180 more: 200 replicas are asked for")
    assert len(plan.reason) < 4000


def test_an_on_demand_replica_that_came_before_the_spot_ones_is_no_shortage_of_them() -> None:
    fleet = Fleet(scaling={"minReplicas": 1}, spot={"enabled": True, "baseOnDemand": 0}, prices=PRICES)
    for _ in range(240):
        fleet.tick()
        assert fleet.condition("CapacityAvailable")[:2] == ("True", "MachinesCome")
    assert fleet.kinds() == {"spot": 1}
