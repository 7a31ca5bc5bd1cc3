"""A rollout with no room to spare: nothing that serves is given away for what may never come."""

import pytest

from tests.rollout.simulated import Behaviour
from tests.rollout.world import a_world


@pytest.mark.parametrize("strategy", ["Auto", "Surge"])
def test_with_no_surge_replicas_go_one_by_one(strategy: str) -> None:
    world = a_world()
    world.upgrade("server:2", strategy=strategy, maxSurge=0, maxUnavailable=1)
    total: list[int] = []

    def over() -> bool:
        total.append(len(world.images()))
        return world.images() == ["server:2"] * 3 and not world.rollout

    world.until(over)
    assert min(world.serving) == 2
    assert not world.status.get("refusedRevision")


@pytest.mark.parametrize("strategy", ["Auto", "Replace"])
def test_a_freed_machine_that_somebody_else_takes_ends_the_rollout_not_the_service(strategy: str) -> None:
    world = a_world(nodes=4, replicas=4)
    world.upgrade("server:2", strategy=strategy)
    world.foreign = 99
    world.tick(200)
    assert min(world.serving) == 3
    assert world.status["refusedRevision"]["reason"] == "ProgressDeadlineExceeded"
    assert "no node takes it" in world.status["refusedRevision"]["message"]
    assert world.images() == ["server:1"] * 4


@pytest.mark.parametrize("strategy", ["Auto", "Replace"])
def test_a_proven_revision_without_machines_is_not_called_done(strategy: str) -> None:
    world = a_world(nodes=5, replicas=5)
    world.upgrade("server:2", strategy=strategy)
    world.until(lambda: world.images().count("server:2") == 1 and list(world.shares().values()) == ["open"] * 5)
    world.foreign = 99
    world.serving.clear()
    world.tick(150)
    assert min(world.serving) == 4
    assert "1 of revision" in world.rollout["reason"]
    assert world.status["currentRevision"] != world.status["revision"]
    world.foreign = 0
    world.settle()
    assert world.images() == ["server:2"] * 5


@pytest.mark.parametrize("strategy", ["Surge", "BlueGreen"])
def test_a_change_taken_back_with_all_machines_taken_ends_at_once(strategy: str) -> None:
    world = a_world(nodes=4)
    world.upgrade("server:2", strategy=strategy)
    world.until(lambda: len(world.images()) == 4)
    world.change(image="server:1")
    world.settle(60)
    assert world.images() == ["server:1"] * 3
    assert min(world.serving) == 3


def test_an_unproven_revision_does_not_spread_by_scaling_where_replicas_do_not_answer() -> None:
    world = a_world(hears=False, nodes=12)
    world.upgrade("server:2", Behaviour(starts=False))
    world.tick(3)
    world.change(replicas=6)
    world.until(lambda: bool(world.status.get("refusedRevision")))
    world.settle()
    assert max(world.bad) == 1
    assert world.images() == ["server:1"] * 6


def test_blue_and_green_follow_a_mixed_fleet() -> None:
    world = a_world()
    world.upgrade("server:2", strategy="Surge")
    world.until(lambda: sorted(world.images()) == ["server:1", "server:2", "server:2"])
    world.upgrade("server:3", strategy="BlueGreen")
    world.settle()
    assert world.images() == ["server:3"] * 3
    assert min(world.serving) >= 3
    assert not world.status.get("refusedRevision")
