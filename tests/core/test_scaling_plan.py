"""Scaling through the whole plan: what is created and removed, what the status tells, and that it settles."""

from dataclasses import replace

import pytest

from gptoss_operator.core.actions import digest_of
from gptoss_operator.core.observation import ChildKey
from gptoss_operator.core.plan import make_plan
from gptoss_operator.core.scaling.load import NOTHING_KNOWN
from tests.core.builders import OPTIONS, a_pod
from tests.core.fleets import Fleet, a_load, a_scaled_fleet, idle


def test_replicas_follow_the_load_up_and_down() -> None:
    fleet = a_scaled_fleet()
    assert len(fleet.pods) == 1
    fleet.load = a_load(3.0)
    fleet.settle()
    assert len(fleet.pods) == 3
    fleet.load = idle()
    fleet.tick(60)
    assert len(fleet.pods) == 3, "not before nothing more was needed for ten minutes"
    fleet.tick(140)
    assert len(fleet.pods) == 1


def test_each_change_is_explained_in_status_and_events() -> None:
    fleet = a_scaled_fleet(load=3.0)
    last = fleet.status["lastDecision"]
    assert (last["previous"], last["replicas"]) == (1, 3)
    assert last["reason"].startswith("1 to 3: 3 requests/s need 2.7")
    assert last["terms"]["arrivals"] == "3"
    assert last["terms"]["needed"] == "2.67"
    assert fleet.status["decisions"][0] == last
    assert [d["replicas"] for d in fleet.status["decisions"]] == [3, 1]
    scaled = [(reason, message) for reason, message in fleet.notes() if reason.startswith("Scaled")]
    assert scaled == [("ScaledUp", "0 to 1: minReplicas"), ("ScaledUp", last["reason"])]
    assert fleet.plans[-1].terms["target"] == 3
    assert fleet.plans[-1].terms["arrivals"] == 3.0


def test_a_change_is_explained_although_the_status_could_not_be_written_at_once() -> None:
    fleet = a_scaled_fleet()
    fleet.load = a_load(3.0)
    plan = fleet.pass_once(stop_after=1)
    assert plan.status is not None
    assert fleet.status["lastDecision"]["replicas"] == 1, "it is not written"
    fleet.tick(2)
    assert fleet.status["lastDecision"] == plan.status.model_dump(by_alias=True, exclude_none=True)["lastDecision"]
    assert fleet.status["lastDecision"]["reason"].startswith("1 to 3: ")
    scaled = {message for reason, message in fleet.notes() if reason == "ScaledUp"}
    assert scaled == {"0 to 1: minReplicas", fleet.status["lastDecision"]["reason"]}


def test_the_last_ten_decisions_are_kept() -> None:
    fleet = a_scaled_fleet()
    for replicas in range(12):
        fleet.body["spec"]["scaling"]["minReplicas"] = 1 + replicas % 2
        fleet.body["spec"]["scaling"]["maxReplicas"] = 1 + replicas % 2
        fleet.tick()
    assert len(fleet.status["decisions"]) == 10
    dates = [decision["at"] for decision in fleet.status["decisions"]]
    assert dates == sorted(dates, reverse=True)


@pytest.mark.parametrize("forgets", [False, True])
def test_a_settled_fleet_writes_nothing_although_it_looks_every_five_seconds(forgets: bool) -> None:  # noqa: FBT001
    fleet = a_scaled_fleet(load=3.0)
    fleet.forgets = forgets
    fleet.memory = None if forgets else fleet.memory
    fleet.tick()
    for number in range(120):
        fleet.load = a_load(3.0 + 0.02 * (number % 3))
        plan = fleet.tick()
        assert (plan.applies, plan.deletes, plan.annotates, plan.notes, plan.status) == ((), (), (), (), None)
        assert plan.reason == "settled: everything is as the spec asks"


def test_numbers_that_move_are_written_every_five_minutes_at_most() -> None:
    prices = [{"capacityType": "OnDemand", "gpuHour": "3"}, {"capacityType": "Spot", "gpuHour": "1"}]
    fleet = Fleet(scaling={"minReplicas": 3, "maxReplicas": 6}, spot={"enabled": True, "maxExtra": 0}, prices=prices)
    fleet.settle()
    fleet.plans.clear()
    fleet.tick(360)
    writes = [plan.status for plan in fleet.plans if plan.status]
    assert 3 <= len(writes) <= 6
    assert fleet.status["cost"]["hourly"] == "5.00"
    assert float(fleet.status["cost"]["savedLastDay"]) > 1.5
    assert {zone["zone"] for zone in fleet.status["zones"]} <= {"a", "b", "c"}
    assert fleet.status["coldStart"] == {"p50Seconds": 60, "p90Seconds": 60, "starts": 3}


def test_unknown_load_keeps_what_is_there_and_says_so() -> None:
    fleet = a_scaled_fleet(load=3.0)
    fleet.load = NOTHING_KNOWN
    fleet.tick(400)
    assert len(fleet.pods) == 3
    status, reason, message = fleet.condition("ScalingActive")
    assert (status, reason) == ("False", "MetricsUnavailable")
    assert "NetworkPolicy" in message
    fleet.load = a_load(3.0)
    fleet.tick()
    assert fleet.condition("ScalingActive")[:2] == ("True", "LoadMeasured")


def test_saturation_names_the_bound_and_the_remedy() -> None:
    fleet = a_scaled_fleet(load=20.0)
    assert len(fleet.pods) == 6
    status, reason, message = fleet.condition("SaturatedAtMax")
    assert (status, reason) == ("True", "AtMaximum")
    assert message.startswith("the load needs more than 6 replicas, and spec.scaling.maxReplicas, ")
    fleet.body["spec"]["scaling"]["budget"] = {"maxGpus": 2}
    fleet.tick()
    assert "spec.scaling.budget.maxGpus" in fleet.condition("SaturatedAtMax")[2]
    assert len(fleet.pods) == 2
    fleet.load = idle()
    fleet.tick(300)
    assert fleet.condition("SaturatedAtMax")[:2] == ("False", "BelowMaximum")


def test_by_hand_the_load_does_not_count() -> None:
    fleet = Fleet(replicas=2)
    fleet.load = a_load(20.0)
    fleet.settle()
    assert len(fleet.pods) == 2
    assert not [c for c in fleet.status["conditions"] if c["type"] in ("ScalingActive", "SaturatedAtMax")]
    assert fleet.status["lastDecision"]["reason"] == "2 replicas are asked for"
    assert not [reason for reason, _ in fleet.notes() if reason.startswith("Scaled")]


def test_pitfall_12_pods_of_a_rollout_are_no_further_replicas() -> None:
    fleet = a_scaled_fleet(load=3.0)
    fleet.body["spec"]["image"] = "server:2"
    for _ in range(100):
        plan = fleet.tick()
        # Each slot may have a second pod that still finishes its requests.
        leaving = tuple(a_pod(slot, revision="old", ready=True, leaving=True) for slot in fleet.pods)
        observation = fleet.look()
        doubled = replace(observation, replica_pods=(*observation.replica_pods, *leaving))
        same = make_plan(fleet.body, doubled, OPTIONS, fleet.now, fleet.memory)
        assert same.memory is not None
        assert same.memory.scaling.target == 3
        assert len(fleet.pods) in (3, 4)
    assert (plan.applies, plan.deletes) == ((), ())
    assert fleet.status["updatedReplicas"] == 3


def test_pitfall_13_a_foreign_edit_of_a_replica_is_undone_and_the_number_does_not_flap() -> None:
    fleet = a_scaled_fleet(load=3.0)
    decisions = fleet.status["decisions"]
    key = ChildKey("StatefulSet", "chat-r1")
    for _ in range(3):
        fleet.children[key] = replace(fleet.children[key], applied_digest=None)
        plan = fleet.tick()
        assert [apply.key for apply in plan.applies] == [key]
        assert plan.deletes == ()
    del fleet.children[key]
    fleet.tick()
    fleet.settle()
    assert sorted(fleet.pods) == [0, 1, 2]
    assert fleet.status["decisions"] == decisions


def test_pitfall_14_the_replica_that_goes_is_the_idle_one_whatever_its_slot() -> None:
    fleet = a_scaled_fleet(load=3.0)
    busy = fleet.load.replicas[0]
    fleet.load = replace(idle(), replicas={0: busy, 1: replace(busy, running=0.0, in_flight=0.0), 2: busy})
    fleet.tick(160)
    assert 1 not in fleet.pods
    assert min(fleet.pods) == 0


def test_a_last_replica_is_not_removed_while_another_starts() -> None:
    fleet = Fleet(replicas=1)
    fleet.settle()
    fleet.body["spec"]["replicas"] = 2
    fleet.tick()
    fleet.body["spec"]["replicas"] = 1
    plan = fleet.tick()
    assert [delete.key.name for delete in plan.deletes] == ["chat-r1"]


def test_gateways_are_not_restarted_by_scaling() -> None:
    fleet = Fleet(scaling={"minReplicas": 0, "maxReplicas": 40})
    fleet.settle()
    before = {
        key: child.applied_digest for key, child in fleet.children.items() if key.kind in ("ConfigMap", "Deployment")
    }
    fleet.load = a_load(100.0, held=50.0)
    fleet.settle()
    assert len(fleet.pods) == 40
    assert before == {key: fleet.children[key].applied_digest for key in before}


def test_what_moves_is_no_part_of_a_manifest() -> None:
    fleet = a_scaled_fleet(load=3.0)
    before = {key: child.applied_digest for key, child in fleet.children.items()}
    fleet.tick(100)
    assert before == {key: child.applied_digest for key, child in fleet.children.items()}
    assert digest_of({}) not in before.values()


def test_a_budget_bounds_a_fixed_number_too() -> None:
    fleet = Fleet(scaling={"minReplicas": 3, "maxReplicas": 3, "budget": {"maxGpus": 2}})
    fleet.load = a_load(5.0)
    fleet.settle()
    assert len(fleet.pods) == 2
    assert fleet.condition("SaturatedAtMax")[:2] == ("True", "AtMaximum")


def test_in_a_rollout_those_of_the_old_revision_go_first() -> None:
    fleet = Fleet(replicas=4)
    fleet.settle()
    fleet.body["spec"]["image"] = "server:2"
    while fleet.status.get("updatedReplicas") != 2 or fleet.status["readyReplicas"] != 4:
        fleet.tick()
    old = {s for s, pod in fleet.pods.items() if pod.metadata.labels["gptoss.dev/revision"] != fleet.status["revision"]}
    fleet.body["spec"]["replicas"] = 3
    (gone,) = (delete for delete in fleet.tick().deletes if delete.key.kind == "StatefulSet")
    assert int(gone.key.name.removeprefix("chat-r")) in old


def test_in_a_rollout_a_replica_that_loses_its_machine_goes_itself() -> None:
    fleet = Fleet(replicas=4)
    fleet.settle()
    fleet.body["spec"]["image"] = "server:2"
    while fleet.status.get("updatedReplicas") != 2 or fleet.status["readyReplicas"] != 4:
        fleet.tick()
    new = next(
        s for s, pod in fleet.pods.items() if pod.metadata.labels["gptoss.dev/revision"] == fleet.status["revision"]
    )
    fleet.taint(new, "karpenter.sh/disrupted")
    removed = [delete.key.name for delete in fleet.tick().deletes if delete.key.kind == "StatefulSet"]
    assert removed == [f"chat-r{new}"]
