"""Machines that are announced to go, vanish or fall silent, through the whole plan."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from gptoss_operator.core.objects import NodeCondition, NodeStatus, PodCondition
from gptoss_operator.core.observation import ChildKey
from gptoss_runtime.contract import Notice, NoticeKind
from tests.core.builders import a_state
from tests.core.fleets import Fleet, a_load, a_scaled_fleet, a_spot_fleet, spot_slots


def counts(plan: Any) -> tuple[int, list[str]]:  # noqa: ANN401 - a plan
    return len(plan.applies), [delete.key.name for delete in plan.deletes]


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


def test_a_machine_that_goes_after_its_pod_was_deleted_is_no_interruption() -> None:
    fleet = a_spot_fleet()
    victim = spot_slots(fleet)[0]
    pod = fleet.pods[victim]
    deleted = msgspec.structs.replace(pod.metadata, deletion_timestamp=fleet.now)
    fleet.pods[victim] = msgspec.structs.replace(pod, metadata=deleted)
    fleet.tick()
    fleet.take_node(victim)
    fleet.settle()
    assert "ZoneSuspect" not in [reason for reason, _ in fleet.notes()]


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
    assert "neither the operator nor a gateway reaches it" in fleet.status["lastDecision"]["reason"]
    assert fleet.tick().notes == ()

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


def test_a_pass_without_nodes_says_nothing_of_machines() -> None:
    fleet = a_spot_fleet()
    observation = replace(fleet.look(), nodes={})
    assert observation.replica_pods
    fleet.look = lambda: observation  # type: ignore[method-assign]
    plan = fleet.pass_once()
    assert (plan.applies, plan.deletes) == ((), ())


def a_fleet_with_a_silent_node() -> tuple[Fleet, int]:
    """Return a fleet of three under load, one of them on a node that will never answer again, and its slot."""
    fleet = a_scaled_fleet(3.0)
    victim = max(fleet.pods)
    name = fleet.pods[victim].spec.node_name
    silent = NodeCondition(type="Ready", status="Unknown", last_transition_time=fleet.now)
    fleet.nodes[name] = msgspec.structs.replace(fleet.nodes[name], status=NodeStatus(conditions=(silent,)))
    fleet.unready = {victim}
    fleet.tick(24)
    assert fleet.status["ready"] == "3/3"
    assert len(fleet.pods) == 4
    return fleet, victim


def test_a_lost_replica_keeps_others_only_for_a_while() -> None:
    fleet, victim = a_fleet_with_a_silent_node()
    fleet.load = a_load(0.3)
    fleet.tick(400)
    assert fleet.status["desiredReplicas"] == 1
    assert fleet.status["readyReplicas"] == 1
    del fleet.nodes[fleet.pods[victim].spec.node_name]
    fleet.tick()
    assert victim not in fleet.pods, "its node is gone: it goes as well"


def test_a_rollout_does_not_wait_for_a_lost_replica() -> None:
    fleet, victim = a_fleet_with_a_silent_node()
    lost = fleet.pods[victim]
    owned_by = fleet.children[ChildKey("StatefulSet", f"chat-r{victim}")].object.metadata.uid
    fleet.body["spec"]["image"] = "server:2"
    for _ in range(100):
        # Nobody ends its pod: its kubelet does not answer.
        fleet.tick()
        owner = fleet.children.get(ChildKey("StatefulSet", f"chat-r{victim}"))
        if owner and owner.object.metadata.uid == owned_by:
            fleet.pods[victim] = lost
        else:
            fleet.unready.clear()
        assert fleet.status["readyReplicas"] >= 2
    revision = fleet.status["revision"]
    assert [pod.metadata.labels["gptoss.dev/revision"] for pod in fleet.pods.values()] == [revision] * 3
