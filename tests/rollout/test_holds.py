"""What a pause, a closed window and a rollback that is not wanted hold up, and what they do not."""

import pytest

from tests.core.fleets import a_scaled_fleet, idle
from tests.rollout.simulated import Behaviour
from tests.rollout.world import QUICK, TICK, a_world


CLOSED = {"windows": [{"name": "night", "days": ["Sun"], "start": "03:00", "end": "03:01"}]}


def test_a_paused_revision_gets_no_replica_when_scaling_makes_new_ones() -> None:
    world = a_world()
    world.upgrade("server:2", paused=True)
    world.tick(5)
    world.change(replicas=0)
    world.tick(10)
    world.change(replicas=3)
    world.tick(30)
    assert world.images() == ["server:1"] * 3
    assert (world.rollout["phase"], max(world.bad), world.serving[-1]) == ("Paused", 0, 3)


def test_a_paused_revision_does_not_replace_the_only_replica_when_its_node_is_lost() -> None:
    world = a_world(replicas=1)
    world.upgrade("server:2", Behaviour(starts=False), paused=True)
    world.tick(5)
    world.lose_node(0)
    world.tick(30)
    assert (world.images(), world.serving[-1], max(world.bad)) == (["server:1"], 1, 0)


def test_a_change_is_taken_back_while_paused() -> None:
    world = a_world()
    world.upgrade("server:2")
    world.until(lambda: sorted(world.images()) == ["server:1", "server:2", "server:2"])
    world.change(image="server:1", rollout={**QUICK, "paused": True})
    world.settle()
    assert world.images() == ["server:1"] * 3
    assert min(world.serving) == 3


def test_a_closed_window_does_not_keep_idle_replicas() -> None:
    fleet = a_scaled_fleet(load=4.0)
    before = len(fleet.pods)
    fleet.change(image="server:2", rollout=CLOSED)
    fleet.tick(3)
    assert fleet.status["rollout"]["phase"] == "Waiting"
    fleet.load = idle(0.0)
    fleet.tick(400)
    assert len(fleet.pods) < before


def test_a_window_that_closes_does_not_stop_the_deadline_of_what_has_begun() -> None:
    world = a_world()
    world.upgrade("server:2", Behaviour(starts=False))
    world.tick(3)
    world.change(image="server:2", rollout={**QUICK, **CLOSED})
    world.until(lambda: bool(world.status.get("refusedRevision")), passes=80)
    world.settle()
    assert world.images() == ["server:1"] * 3


@pytest.mark.parametrize("answers", [True, False])
def test_a_rollout_that_stands_still_writes_nothing(answers: bool) -> None:  # noqa: FBT001
    world = a_world()
    world.upgrade("server:2", Behaviour(answers=answers), autoRollback=False, paused=answers)
    world.tick(60)
    plans = [world.tick() for _ in range(30)]
    assert not any(plan.applies or plan.deletes or plan.annotates or plan.status for plan in plans)


def test_the_history_keeps_the_revision_that_serves_however_many_fail() -> None:
    world = a_world(replicas=1)
    for number in range(6):
        world.upgrade(f"server:bad{number}", Behaviour(answers=False))
        world.until(lambda: (world.status.get("refusedRevision") or {}).get("revision") == world.status["revision"])
        world.settle()
    outcomes = [entry["outcome"] for entry in world.status["history"]]
    assert outcomes == ["RolledBack"] * 4 + ["Active"]


def test_a_replica_that_came_to_serve_while_no_operator_was_there_is_not_late() -> None:
    world = a_world()
    world.upgrade("server:2")
    world.until(lambda: world.shares().get("chat-r3") == "closed")
    for _ in range(60):
        world.now += TICK
        world.go_on()
    world.settle()
    assert world.images() == ["server:2"] * 3
    assert not world.status.get("refusedRevision")


def test_a_canary_is_watched_to_its_end_when_a_window_closes() -> None:
    gates = {"canary": {"holdSeconds": 300}}
    world = a_world()
    world.upgrade("server:2", gates=gates)
    world.until(lambda: world.shares().get("chat-r3") == "25")
    world.change(image="server:2", rollout={**QUICK, **CLOSED, "gates": gates})
    world.until(lambda: world.shares()["chat-r3"] == "open")
    assert not world.status.get("refusedRevision")
    world.tick(60)
    assert (world.rollout["phase"], max(world.bad)) == ("Waiting", 1)
    assert "waits for one of spec.rollout.windows" in world.rollout["reason"]
