"""Scaling to and from zero, dry runs, new processes and the past week, through the whole plan."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gptoss_operator.core.observation import ChildKey
from gptoss_operator.core.plan import make_plan
from gptoss_operator.core.scaling.load import NOTHING_KNOWN
from tests.core.builders import NOW, OPTIONS, a_body, seen
from tests.core.fleets import Fleet, a_load, a_scaled_fleet, idle


def test_idle_goes_to_zero_and_a_held_request_brings_it_back() -> None:
    fleet = a_scaled_fleet(minReplicas=0, idleSeconds=60)
    assert len(fleet.pods) == 0
    fleet.load = replace(a_load(0.1, held=1.0, running=0.0), replicas={})
    fleet.tick()
    assert len(fleet.pods) == 1
    assert fleet.status["lastDecision"]["replicas"] == 1
    fleet.load = a_load(0.1)
    fleet.settle()
    assert fleet.status["ready"] == "1/1"
    for number in range(200):
        fleet.load = idle(5.0 * number)
        fleet.tick()
    assert len(fleet.pods) == 0
    assert fleet.status["lastDecision"]["reason"] == "1 to 0: nobody has asked for scaling.idleSeconds"
    status, reason, message = fleet.condition("Available")
    assert (status, reason) == ("False", "ScaledToZero")
    assert message == "no replica is needed: the gateways hold the next request until one has started"


def test_pitfall_27_a_request_at_the_instant_of_going_to_zero_wakes_it_again() -> None:
    fleet = a_scaled_fleet(minReplicas=0, idleSeconds=60)
    fleet.load = a_load(0.1, held=1.0, running=0.0)
    fleet.tick()
    fleet.load = a_load(0.1)
    fleet.settle()
    while fleet.pods:
        fleet.load = idle((fleet.load.idle_seconds or 0.0) + 5.0)
        plan = fleet.tick()
    assert [delete.key.name for delete in plan.deletes] == ["chat-r0"]
    # It came when nothing was ready any more, so the gateway holds it.
    fleet.load = a_load(0.1, held=1.0, running=0.0)
    plan = fleet.tick()
    assert [apply.key.kind for apply in plan.applies] == ["StatefulSet"]
    fleet.load = a_load(0.1)
    assert fleet.settle().status is None
    assert fleet.status["ready"] == "1/1"


def test_a_dry_run_writes_the_status_alone() -> None:
    fleet = a_scaled_fleet()
    fleet.body["spec"]["mode"] = "DryRun"
    fleet.load = a_load(3.0)
    fleet.plans.clear()
    fleet.tick(20)
    assert all(not (plan.applies or plan.deletes or plan.annotates) for plan in fleet.plans)
    assert sum(plan.status is not None for plan in fleet.plans) <= 3
    last = fleet.status["lastDecision"]
    assert (last["replicas"], last["dryRun"]) == (3, True)
    assert fleet.status["ready"] == "1/1"
    assert fleet.condition("Progressing")[1] == "DryRun"
    assert "status.lastDecision" in fleet.condition("Progressing")[2]
    assert fleet.condition("ScalingActive")[1] == "DryRun"
    assert fleet.notes() == [("ScaledUp", f"dry run, nothing is changed: {last['reason']}")]
    del fleet.body["spec"]["mode"]
    fleet.settle()
    assert len(fleet.pods) == 3
    assert "dryRun" not in fleet.status["lastDecision"]


def test_a_dry_run_from_nothing_creates_nothing() -> None:
    plan = make_plan(a_body(mode="DryRun", scaling={"minReplicas": 2, "maxReplicas": 3}), seen(), OPTIONS, NOW)
    assert (plan.applies, plan.deletes, plan.annotates) == ((), (), ())
    assert plan.status is not None
    assert plan.status.last_decision is not None
    assert (plan.status.last_decision.replicas, plan.status.desired_replicas) == (2, 0)


def test_a_new_process_keeps_the_number_and_removes_nothing_for_a_while() -> None:
    fleet = a_scaled_fleet(load=5.0)
    assert len(fleet.pods) == 5
    fleet.memory = None
    fleet.load = idle()
    fleet.tick(100)
    assert len(fleet.pods) == 5
    fleet.tick(200)
    assert len(fleet.pods) == 1


def test_last_week_is_kept_in_a_config_map_and_taken_up_again() -> None:
    fleet = a_scaled_fleet(prediction={"sameTimeLastWeek": True})
    key = ChildKey("ConfigMap", "chat-history")
    fleet.load = a_load(3.0)
    fleet.tick(750)
    kept = fleet.children[key].object.metadata.annotations.week
    assert "3" in kept.split()[-1] or "3x" in kept
    writes = sum(apply.key == key for plan in fleet.plans for apply in plan.applies)
    assert writes <= 3, "an hour has passed"

    fleet.load = idle()
    fleet.memory = None
    fleet.now += timedelta(days=6, hours=23)
    fleet.tick(500)
    assert len(fleet.pods) == 3, "as many as at this time a week ago"
    fleet.body["spec"]["scaling"]["prediction"] = {}
    fleet.tick()
    assert key not in fleet.children


@pytest.mark.parametrize(("by_hand", "load"), [(6, 2.0), (1, 0.0)])
def test_from_a_number_by_hand_the_load_goes_on_as_if_the_operator_had_just_started(by_hand: int, load: float) -> None:
    fleet = a_scaled_fleet(4.0)
    assert len(fleet.pods) == 4
    scaling = fleet.body["spec"].pop("scaling")
    fleet.body["spec"]["replicas"] = by_hand
    fleet.load = a_load(load) if load else idle()
    fleet.settle()
    del fleet.body["spec"]["replicas"]
    fleet.body["spec"]["scaling"] = scaling
    fleet.tick(6)
    assert len(fleet.pods) == by_hand, "neither the number of before nor a smaller one at once"
    assert fleet.memory is not None
    assert fleet.memory.scaling.fit.replica_seconds is not None, "what replicas can do is still known"


@pytest.mark.parametrize(("least", "first"), [(0, 0), (1, 1)])
def test_a_new_deployment_has_the_least_number_while_nothing_is_known(least: int, first: int) -> None:
    fleet = Fleet(scaling={"minReplicas": least, "maxReplicas": 4})
    fleet.load = NOTHING_KNOWN
    fleet.tick(80)
    assert len(fleet.pods) == first
