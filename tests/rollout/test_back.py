"""A rollout goes back by itself: one replica at most is ever on a bad revision, and nobody has to help."""

from datetime import timedelta
from typing import Any

import pytest

from tests.rollout.simulated import Behaviour, an_end
from tests.rollout.world import World, a_world


BAD = {
    "an image that does not pull": (Behaviour(waiting="ErrImagePull"), "ProgressDeadlineExceeded", "not found"),
    "out of memory at load": (
        Behaviour(ends=an_end(137, reason="OOMKilled"), ends_after=timedelta(seconds=10)),
        "OutOfMemory",
        "killed for memory",
    ),
    "never ready": (Behaviour(starts=False), "ProgressDeadlineExceeded", "vLLM is loading the model"),
    "ready, then crashes": (
        Behaviour(ends=an_end(71, "CUDA error: an illegal memory access"), ends_after=timedelta(seconds=40)),
        "EngineDied",
        "CUDA error: an illegal memory access",
    ),
    "cannot start": (
        Behaviour(ends=an_end(70, "vLLM did not start (exit status 1): bad option"), ends_after=timedelta(seconds=5)),
        "ServerStartFailed",
        "bad option",
    ),
    "refuses its orders": (
        Behaviour(ends=an_end(64, "no such model"), ends_after=timedelta(seconds=1)),
        "ServerRefusedOrders",
        "no such model",
    ),
    "wrong answers": (Behaviour(answers=False), "WrongAnswers", "harmony: no reasoning"),
    "a hung engine": (Behaviour(hangs_after=timedelta(seconds=10)), "UnhealthyReplica", "makes no progress"),
    "requests that fail": (Behaviour(failed=0.2), "CanaryWorse", "20.0 % of its requests failed"),
    "late first tokens": (Behaviour(first_token=0.3), "CanaryWorse", "its first tokens come later"),
    "slow tokens": (Behaviour(further_token=0.05), "CanaryWorse", "its further tokens come slower"),
}
DEADLINE_PASSES = 120 // 5
"""Of the deadline of the tests' worlds."""


def check_rolled_back(world: World, reason: str, words: str) -> None:
    """Check that the old revision serves as a whole, and what is said."""
    assert world.images() == ["server:1"] * len(world.images())
    refused = world.status["refusedRevision"]
    assert (refused["reason"], refused["revision"]) == (reason, world.status["revision"])
    assert words in refused["message"]
    assert world.condition("Stalled")[:2] == ("True", "RolledBack")
    assert world.condition("Available")[0] == "True"
    assert words in world.condition("Degraded")[2]
    assert world.status["history"][0]["outcome"] == "RolledBack"
    (told,) = world.notes("RolledBack")
    assert words in told
    gates = [message.split(":")[0] for message in world.notes("GateFailed")]
    assert gates == ([refused["gate"]] if "gate" in refused else [])


@pytest.mark.parametrize(("behaviour", "reason", "words"), BAD.values(), ids=BAD)
def test_a_bad_revision_is_found_out_by_one_replica_and_gone_back_from(
    behaviour: Behaviour, reason: str, words: str
) -> None:
    world = a_world()
    before = world.uids()
    spec = world.body["spec"]
    world.upgrade("server:2", behaviour)
    world.until(lambda: "refusedRevision" in world.status, passes=DEADLINE_PASSES + 12)
    world.settle()
    check_rolled_back(world, reason, words)
    assert world.uids() == before, "the old ones have never left"
    assert (max(world.bad), min(world.serving)) == (1, 3)
    assert world.body["spec"] == {**spec, "image": "server:2", "rollout": world.body["spec"]["rollout"]}
    world.tick(60)
    assert world.images() == ["server:1"] * 3, "it is not tried again"


@pytest.mark.parametrize("strategy", ["Surge", "Replace", "BlueGreen"])
@pytest.mark.parametrize("name", ["never ready", "wrong answers", "a hung engine", "slow tokens"])
def test_no_strategy_has_more_than_one_replica_on_a_bad_revision(name: str, strategy: str) -> None:
    behaviour, reason, words = BAD[name]
    world = a_world(nodes=9)
    world.upgrade("server:2", behaviour, strategy=strategy, maxSurge=3)
    world.settle()
    check_rolled_back(world, reason, words)
    assert max(world.bad) == 1


def test_where_there_was_no_room_the_one_that_left_comes_back_as_it_was() -> None:
    world = a_world(nodes=3)
    world.upgrade("server:2", Behaviour(answers=False))
    world.until(lambda: "refusedRevision" in world.status)
    world.settle()
    check_rolled_back(world, "WrongAnswers", "harmony: no reasoning")
    assert len(world.images()) == 3
    assert (max(world.bad), min(world.serving)) == (1, 2)


@pytest.mark.parametrize("name", sorted(BAD.keys() - {"late first tokens", "slow tokens"}))
def test_one_replica_alone_is_watched_as_well(name: str) -> None:
    behaviour, reason, words = BAD[name]
    world = a_world(replicas=1, nodes=1)
    world.upgrade("server:2", behaviour)
    world.settle()
    check_rolled_back(world, reason, words)


def test_one_replica_alone_comes_back_from_the_record_of_its_revision() -> None:
    world = a_world(replicas=1, nodes=1)
    manifest = next(m for key, m in world.manifests.items() if key.kind == "StatefulSet")
    world.upgrade("server:2", Behaviour(starts=False))
    world.settle()
    check_rolled_back(world, "ProgressDeadlineExceeded", "vLLM is loading the model")
    (again,) = (m for key, m in world.manifests.items() if key in world.children and key.kind == "StatefulSet")
    template, was = again["spec"]["template"], manifest["spec"]["template"]
    assert template["spec"] == was["spec"]


def test_with_surge_and_no_room_it_waits_until_the_deadline_and_goes_back() -> None:
    world = a_world(nodes=3)
    world.upgrade("server:2", strategy="Surge")
    world.until(lambda: "refusedRevision" in world.status, passes=DEADLINE_PASSES + 3)
    world.settle()
    check_rolled_back(world, "ProgressDeadlineExceeded", "Insufficient nvidia.com/gpu")
    assert min(world.serving) == 3


def test_another_spec_is_tried_and_the_same_one_by_its_trigger() -> None:
    world = a_world()
    world.upgrade("server:2", Behaviour(answers=False))
    world.settle()
    world.behaviours["server:2"] = Behaviour()
    world.change(replicas=2)
    world.settle()
    assert world.images() == ["server:1"] * 2, "a change of the number is no other revision"
    world.change(rollout={**world.body["spec"]["rollout"], "trigger": "again"})
    world.settle()
    assert world.images() == ["server:2"] * 2
    assert "refusedRevision" not in world.status
    assert world.condition("Stalled") == ("", "", "")


@pytest.mark.parametrize("updated", [0, 1, 2])
def test_a_change_that_is_taken_back_keeps_every_old_replica_that_still_lives(updated: int) -> None:
    world = a_world(nodes=9)
    before = world.uids()
    world.upgrade("server:2")
    world.until(lambda: len(world.images()) > 3)
    world.until(lambda: world.rollout.get("updated", 0) == updated)
    left = world.uids() & before
    del world.body["spec"]["image"]
    world.settle()
    assert world.images() == ["server:1"] * 3
    assert left <= world.uids()
    assert min(world.serving) == 3
    assert "refusedRevision" not in world.status
    if not updated:
        assert world.uids() == before


def test_two_changes_in_a_second_end_at_the_second() -> None:
    world = a_world(nodes=9)
    world.upgrade("server:2")
    world.pass_once()
    world.upgrade("server:3")
    world.settle()
    assert world.images() == ["server:3"] * 3
    assert min(world.serving) == 3
    outcomes = {(entry["image"], entry["outcome"]) for entry in world.status["history"]}
    assert ("server:3", "Active") in outcomes
    assert ("server:2", "Abandoned") in outcomes


def test_a_failure_after_the_first_wave_brings_all_back() -> None:
    world = a_world(replicas=4, nodes=9)
    world.upgrade("server:2")
    world.until(lambda: world.rollout.get("updated") == 2)
    world.behaviours["server:2"].answers = False
    world.until(lambda: "refusedRevision" in world.status)
    world.settle()
    check_rolled_back(world, "WrongAnswers", "harmony: no reasoning")
    assert len(world.images()) == 4
    assert min(world.serving) >= 4


def test_without_auto_rollback_everything_stays_as_it_is_until_the_spec_changes() -> None:
    world = a_world()
    world.upgrade("server:2", Behaviour(answers=False), autoRollback=False)
    world.until(lambda: "refusedRevision" in world.status)
    world.tick(20)
    assert sorted(world.images()) == ["server:1"] * 3 + ["server:2"]
    assert world.rollout["phase"] == "Failed"
    assert world.condition("Stalled")[:2] == ("True", "RolloutFailed")
    assert world.shares()["chat-r3"] == "closed"
    world.upgrade("server:3")
    world.settle()
    assert world.images() == ["server:3"] * 3


def test_a_rollback_is_not_held_up_by_a_pause_or_a_window() -> None:
    world = a_world()
    world.upgrade("server:2", Behaviour(hangs_after=timedelta(seconds=10)))
    world.until(lambda: world.shares().get("chat-r3") == "25")
    paused: dict[str, Any] = {**world.body["spec"]["rollout"], "paused": True}
    world.change(rollout=paused)
    world.settle()
    check_rolled_back(world, "UnhealthyReplica", "makes no progress")


def test_a_deployment_that_has_never_served_has_nothing_to_go_back_to() -> None:
    world = World(replicas=2)
    world.behaviours["server:1"] = Behaviour(answers=False, starts=False)
    world.tick(60)
    assert "refusedRevision" not in world.status
    world.change(image="server:2")
    world.settle()
    assert world.images() == ["server:2"] * 2
    assert [entry["outcome"] for entry in world.status["history"]] == ["Active", "Abandoned"]


def test_a_bad_machine_after_a_replica_was_let_in_is_no_bad_revision() -> None:
    world = a_world(replicas=4, nodes=9)
    world.upgrade("server:2")
    world.until(lambda: world.rollout.get("updated") == 2)
    world.lose_node(next(int(name[-1]) for name, share in world.shares().items() if share == "open"))
    world.settle()
    assert world.images() == ["server:2"] * 4


def test_a_broken_replica_of_the_old_revision_does_not_hold_up_the_one_that_mends_it() -> None:
    world = a_world(nodes=9)
    world.behaviours["server:1"] = Behaviour(ends=an_end(1, "it breaks"), ends_after=timedelta(seconds=0))
    world.tick(3)
    assert world.condition("Available")[0] == "False"
    world.upgrade("server:2")
    world.settle()
    assert world.images() == ["server:2"] * 3


def test_without_the_record_and_a_replica_of_it_there_is_no_going_back() -> None:
    world = a_world(replicas=1, nodes=1)
    record = next(key for key in world.children if key.kind == "ControllerRevision")
    world.upgrade("server:2", Behaviour(starts=False))
    world.until(lambda: world.images() == ["server:2"])
    del world.children[record]
    world.until(lambda: "refusedRevision" in world.status)
    world.tick(5)
    assert world.images() == ["server:2"], "it is left as it is, and may come up yet"
    assert world.condition("Stalled")[:2] == ("True", "RolloutFailed")


def test_a_dry_run_rolls_nothing_and_fails_nothing() -> None:
    world = a_world()
    running = world.uids()
    world.change(image="server:2", mode="DryRun")
    world.tick(80)
    assert world.uids() == running
    assert "refusedRevision" not in world.status


def test_a_refusal_is_written_down_before_anything_is_done_for_it() -> None:
    world = a_world()
    world.upgrade("server:2", Behaviour(answers=False))
    while not any(plan.status and plan.status.refused_revision for plan in world.plans):
        plan = world.tick()
    assert (plan.applies, plan.deletes, plan.annotates) == ((), (), ())
    assert plan.look_again_in_seconds == 0.1
