"""Spot machines through the whole plan: places, notices, losses, and what is told of them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from gptoss_operator.core.objects import NodeCondition, NodeStatus, PodCondition
from gptoss_operator.core.observation import ChildKey
from gptoss_runtime.contract import Notice, NoticeKind
from tests.core.builders import a_state
from tests.core.fleets import ZONES, Fleet, a_load


PRICES = [{"capacityType": "OnDemand", "gpuHour": "3.00"}, {"capacityType": "Spot", "gpuHour": "1.20"}]


def a_spot_fleet(replicas: int = 4, **spot: object) -> Fleet:
    """Return a settled fleet with one replica on demand and the others on spot machines."""
    fleet = Fleet(
        scaling={"minReplicas": replicas, "maxReplicas": replicas},
        spot={"enabled": True, "baseOnDemand": 1, "maxExtra": 0, **spot},
        prices=PRICES,
    )
    fleet.settle()
    return fleet


def spot_slots(fleet: Fleet) -> list[int]:
    return sorted(slot for slot, (kind, _) in fleet.where().items() if kind == "spot")


def counts(plan: Any) -> tuple[int, list[str]]:  # noqa: ANN401 - a plan
    return len(plan.applies), [delete.key.name for delete in plan.deletes]


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


def test_a_taint_of_its_node_replaces_a_replica_elsewhere_in_one_pass() -> None:
    fleet = a_spot_fleet()
    victim = spot_slots(fleet)[0]
    zone = fleet.where()[victim][1]
    fleet.taint(victim, "karpenter.sh/disrupted")
    plan = fleet.tick()
    created, removed = counts(plan)
    assert f"chat-r{victim}" in removed
    assert created == len(removed)
    new = [fleet.where()[slot] for slot in fleet.pods if slot > 3]
    assert new
    assert zone not in [at for _, at in new]
    reasons = [reason for reason, _ in fleet.notes()]
    assert "ReplacedEarly" in reasons
    assert "ZoneSuspect" in reasons
    words = f"Remove chat-r{victim}: its machine will be taken away (Karpenter: node taint karpenter.sh/disrupted)"
    assert any(message.startswith(words) for _, message in fleet.notes())
    assert next(z for z in fleet.status["zones"] if z["zone"] == zone)["suspectUntil"]
    assert "Karpenter: node taint" in fleet.status["lastDecision"]["reason"]


@pytest.mark.parametrize("forgets", [False, True])
def test_an_interruption_is_counted_once(forgets: bool) -> None:  # noqa: FBT001
    fleet = a_spot_fleet(fallback="None")
    victim = spot_slots(fleet)[0]
    zone = fleet.where()[victim][1]
    fleet.forgets = forgets
    fleet.memory = None if forgets else fleet.memory
    fleet.taint(victim, "karpenter.sh/disrupted")
    fleet.tick(20)
    (events,) = (z["events"] for z in fleet.status["zones"] if z["zone"] == zone)
    assert float(events) == pytest.approx(1.0, abs=0.02)


def test_the_words_of_the_replica_itself_count_as_well() -> None:
    fleet = a_spot_fleet()
    victim = spot_slots(fleet)[0]
    notice = Notice(kind=NoticeKind.TERMINATION, source="AWS spot/instance-action")
    fleet.states = {victim: a_state(notice=notice)}
    _, removed = counts(fleet.tick())
    assert f"chat-r{victim}" in removed
    assert "ZoneSuspect" in [reason for reason, _ in fleet.notes()]


def test_a_pod_that_is_evicted_is_replaced_and_no_news_of_the_market() -> None:
    fleet = a_spot_fleet()
    victim = spot_slots(fleet)[0]
    pod = fleet.pods[victim]
    disrupted = PodCondition(type="DisruptionTarget", status="True", reason="EvictionByEvictionAPI")
    conditions = (*pod.status.conditions, disrupted)
    fleet.pods[victim] = msgspec.structs.replace(pod, status=msgspec.structs.replace(pod.status, conditions=conditions))
    created, removed = counts(fleet.tick())
    assert (created, removed) == (1, [f"chat-r{victim}"])
    assert "ZoneSuspect" not in [reason for reason, _ in fleet.notes()]


def test_a_node_that_vanishes_with_its_pod_between_two_passes_is_an_interruption() -> None:
    fleet = a_spot_fleet()
    victim = spot_slots(fleet)[0]
    zone = fleet.where()[victim][1]
    fleet.take_node(victim)
    fleet.tick()
    assert any(reason == "ZoneSuspect" and message.startswith(zone) for reason, message in fleet.notes())
    fleet.settle()
    assert fleet.status["readyReplicas"] == 4


def test_a_replica_that_was_removed_is_no_interruption_when_its_node_goes_too() -> None:
    fleet = a_spot_fleet()
    fleet.body["spec"]["scaling"] = {"minReplicas": 2, "maxReplicas": 2}
    fleet.settle()
    assert "ZoneSuspect" not in [reason for reason, _ in fleet.notes()]
    assert [zone["events"] for zone in fleet.status["zones"]] == ["0.00"] * len(fleet.status["zones"])


def test_a_pod_whose_node_is_not_seen_yet_is_no_loss() -> None:
    fleet = a_spot_fleet()
    fleet.body["spec"]["scaling"] = {"minReplicas": 5, "maxReplicas": 5}
    fleet.tick()
    (new,) = (slot for slot in fleet.pods if slot > 3)
    node = fleet.nodes.pop(fleet.pods[new].spec.node_name)
    plan = fleet.pass_once()
    assert (plan.applies, plan.deletes) == ((), ())
    fleet.nodes[node.metadata.name] = node
    fleet.settle()
    assert len(fleet.pods) == 5


def test_pitfall_24_a_silent_replica_is_replaced_before_its_node_is_not_ready() -> None:
    fleet = a_spot_fleet()
    victim = spot_slots(fleet)[0]
    pod = fleet.pods[victim]
    fleet.unreachable = {pod.metadata.uid: fleet.now}
    created, removed = counts(fleet.tick())
    assert (created, removed) == (1, [])
    assert any(
        reason == "ReplicaSilent" and message.startswith(f"chat-r{victim}: neither the operator nor a gateway")
        for reason, message in fleet.notes()
    )
    silent = fleet.plans[-1].notes
    assert fleet.tick().notes == ()
    assert silent

    # It comes back: one of the two is too many then.
    fleet.unreachable = {}
    fleet.settle()
    assert len(fleet.pods) == 4


def test_a_silent_replica_that_kubernetes_gives_a_reason_for_is_not_replaced_for_it() -> None:
    fleet = a_spot_fleet()
    victim = spot_slots(fleet)[0]
    fleet.unready = {victim}
    fleet.tick()
    fleet.unreachable = {fleet.pods[victim].metadata.uid: fleet.now}
    assert counts(fleet.tick()) == (0, [])


def test_a_node_that_is_not_ready_takes_its_replica_from_the_supply_until_it_is_back() -> None:
    fleet = a_spot_fleet()
    victim = spot_slots(fleet)[0]
    name = fleet.pods[victim].spec.node_name
    node = fleet.nodes[name]
    down = NodeStatus(conditions=(NodeCondition(type="Ready", status="Unknown"),))
    fleet.nodes[name] = msgspec.structs.replace(node, status=down)
    created, removed = counts(fleet.tick())
    assert created >= 1
    assert f"chat-r{victim}" not in removed
    fleet.nodes[name] = node
    fleet.settle()
    assert fleet.status["readyReplicas"] >= 4
    assert len(fleet.pods) == 4


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


def test_a_pass_without_nodes_says_nothing_of_machines() -> None:
    fleet = a_spot_fleet()
    observation = replace(fleet.look(), nodes={})
    assert observation.replica_pods
    fleet.look = lambda: observation  # type: ignore[method-assign]
    plan = fleet.pass_once()
    assert (plan.applies, plan.deletes) == ((), ())


def test_objects_of_an_earlier_release_have_no_place_and_stay_as_they_are() -> None:
    fleet = Fleet(replicas=2)
    fleet.settle()
    labels = fleet.children[ChildKey("StatefulSet", "chat-r0")].object.metadata.labels
    assert not any(name in labels for name in ("gptoss.dev/capacity-type", "gptoss.dev/zone", "gptoss.dev/pool"))
    manifest = next(a.manifest for a in fleet.plans[0].applies if a.key.name == "chat-r0")
    assert "affinity" not in manifest["spec"]["template"]["spec"]
