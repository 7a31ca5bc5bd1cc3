"""A rollout goes forward: in waves, by health, and nobody is missed."""

from datetime import timedelta

import pytest

from gptoss_operator.core.rollout.waves import sizes_of
from tests.rollout.simulated import Behaviour
from tests.rollout.world import World, a_world


def test_a_new_replica_is_made_closed_let_in_by_its_gates_and_takes_the_place_of_an_old_one() -> None:
    world = a_world()
    world.upgrade("server:2")
    world.tick()
    assert world.shares() == {"chat-r0": "open", "chat-r1": "open", "chat-r2": "open", "chat-r3": "closed"}
    world.until(lambda: world.shares()["chat-r3"] == "25")
    assert world.rollout["phase"] in ("Progressing", "Waiting")
    assert {gate["gate"]: gate["result"] for gate in world.rollout["gates"]} == {
        "Ready": "Passed",
        "DeepHealth": "Passed",
        "GoldenPrompts": "Passed",
    }
    world.until(lambda: world.shares()["chat-r3"] == "open")
    (passed,) = (message for message in world.notes("GatePassed") if "Canary" in message)
    assert "no worse than the others (40 requests, 0.0 % failed" in passed
    world.settle()
    assert world.images() == ["server:2"] * 3
    assert (min(world.serving), max(world.bad)) == (3, 3)
    assert world.condition("Progressing")[:2] == ("False", "Settled")
    assert [(entry["outcome"], entry["image"]) for entry in world.status["history"]] == [
        ("Active", "server:2"),
        ("Superseded", "server:1"),
    ]
    assert world.status["history"][0]["changes"] == ["image"]


def test_nothing_else_is_replaced_while_the_first_one_is_watched() -> None:
    world = a_world()
    world.upgrade("server:2")
    world.until(lambda: world.shares().get("chat-r3") == "25")
    world.until(lambda: world.shares()["chat-r3"] == "open")
    assert max(world.bad) == 1


@pytest.mark.parametrize(("replicas", "surge", "nodes"), [(1, 1, 2), (3, 1, 4), (5, 2, 7), (7, "50%", 11), (6, 6, 12)])
def test_it_takes_the_steps_that_were_foretold(replicas: int, surge: int | str, nodes: int) -> None:
    world = a_world(replicas=replicas, nodes=nodes)
    world.upgrade("server:2", maxSurge=surge)
    sizes: list[int] = []

    def over() -> bool:
        if world.rollout and world.images().count("server:2") + world.images().count("server:1") == replicas:
            number = world.images().count("server:2")
            if number and sizes[-1:] != [number]:
                sizes.append(number)
        return bool(sizes) and not world.rollout

    world.tick()
    foretold, steps = world.rollout["steps"], world.rollout["steps"]
    world.until(over)
    wave = 4 if surge == "50%" else int(surge)
    assert tuple(sizes) == sizes_of(replicas, wave, 1)
    assert foretold == steps == len(sizes)
    assert min(world.serving) == replicas


def test_fifty_replicas_of_an_operator_that_asks_none() -> None:
    world = a_world(replicas=50, nodes=56, hears=False)
    world.upgrade("server:2", maxSurge=5)
    world.settle()
    assert world.images() == ["server:2"] * 50
    assert min(world.serving) == 50


def test_where_there_is_no_room_old_ones_leave_first_and_it_is_said_why() -> None:
    world = a_world(nodes=3)
    world.upgrade("server:2")
    world.tick()
    assert world.rollout["strategy"] == "Replace"
    assert "room for 0 more replicas" in world.rollout["reason"]
    assert "nothing is seen that adds nodes" in world.rollout["reason"]
    world.settle()
    assert world.images() == ["server:2"] * 3
    assert min(world.serving) == 2
    assert max(world.bad[:20]) == 1


def test_where_nodes_may_be_added_new_ones_come_first() -> None:
    world = a_world(nodes=3, grows=True)
    world.upgrade("server:2")
    world.tick()
    assert world.rollout["strategy"] == "Surge"
    assert "Karpenter may add some" in world.rollout["reason"]
    world.settle()
    assert min(world.serving) == 3


def test_room_that_somebody_else_has_taken_is_found_out_and_an_old_one_leaves() -> None:
    world = a_world(nodes=4)
    world.foreign = 1
    world.upgrade("server:2")
    world.tick()
    assert world.rollout["strategy"] == "Surge"
    world.settle()
    assert world.images() == ["server:2"] * 3
    assert min(world.serving) == 2
    assert any("no node has GPUs for its successor" in message for message in world.notes("ReplicaRemoved"))


def test_it_switches_back_to_surge_when_room_appears() -> None:
    world = a_world(nodes=3)
    world.upgrade("server:2")
    world.until(lambda: world.rollout.get("updated") == 1)
    world.nodes |= a_world(nodes=6).nodes
    world.settle()
    assert any(message.startswith("Surge instead of Replace") for message in world.notes("StrategyChosen"))


def test_replace_never_has_more_than_are_wanted() -> None:
    world = a_world(nodes=8)
    world.upgrade("server:2", strategy="Replace")
    most = 0

    def over() -> bool:
        nonlocal most
        most = max(most, len(world.alive))
        return world.images() == ["server:2"] * 3 and not world.rollout

    world.until(over)
    assert most == 3
    assert min(world.serving) == 2


def test_blue_green_switches_all_at_once() -> None:
    world = a_world(nodes=6)
    world.upgrade("server:2", strategy="BlueGreen")
    opened: set[int] = set()

    def over() -> bool:
        new = [share for name, share in world.shares().items() if int(name[-1]) >= 3]
        opened.add(new.count("open"))
        return world.images() == ["server:2"] * 3 and not world.rollout

    world.until(over)
    assert opened <= {0, 1, 3}, "one is the canary, then all"
    assert min(world.serving) >= 3


def test_a_paused_rollout_stays_where_it_is_and_scaling_goes_on() -> None:
    world = a_world(nodes=9)
    world.upgrade("server:2")
    world.until(lambda: world.rollout.get("updated") == 1)
    world.change(rollout={**world.body["spec"]["rollout"], "paused": True})
    world.tick(30)
    assert world.images().count("server:2") <= 2
    assert world.condition("Progressing")[:2] == ("False", "RolloutPaused")
    world.change(replicas=5)
    world.tick(30)
    assert len(world.images()) >= 5
    assert world.status.get("refusedRevision") is None, "no deadline runs"
    world.change(rollout={**world.body["spec"]["rollout"], "paused": False})
    world.settle()
    assert world.images() == ["server:2"] * 5


def test_outside_of_its_windows_nothing_is_replaced() -> None:
    world = a_world()
    window = {"name": "night", "start": "23:00", "end": "02:00"}
    world.upgrade("server:2", windows=[window])
    world.tick(40)
    assert world.images() == ["server:1"] * 3
    status, reason, message = world.condition("Progressing")
    assert (status, reason) == ("False", "RolloutWaiting")
    assert "night" in message
    world.now = world.now.replace(hour=23, minute=30)
    world.settle()
    assert world.images() == ["server:2"] * 3


def test_a_new_replica_must_have_served_for_a_while_where_the_spec_says_so() -> None:
    world = a_world()
    world.upgrade("server:2", minReadySeconds=60)
    world.until(lambda: world.shares().get("chat-r3") == "25")
    served_since = world.now
    world.until(lambda: len(world.images()) == 3)
    assert world.now - served_since >= timedelta(seconds=55)


def test_scaling_up_before_the_revision_is_proven_makes_replicas_of_the_old_one() -> None:
    world = a_world(nodes=9)
    world.upgrade("server:2")
    world.tick()
    world.change(replicas=6)
    world.tick(2)
    assert world.images().count("server:2") == 1
    assert len(world.images()) == 7
    world.settle()
    assert world.images() == ["server:2"] * 6


def test_scaling_down_meanwhile_removes_old_ones() -> None:
    world = a_world(replicas=4, nodes=9)
    world.upgrade("server:2")
    world.until(lambda: world.rollout.get("updated") == 1)
    world.change(replicas=2)
    world.settle()
    assert world.images() == ["server:2"] * 2


def test_a_lost_machine_meanwhile_is_made_up_for() -> None:
    for slot in (0, 3):
        world = a_world(nodes=9)
        world.upgrade("server:2")
        until_canary(world)
        world.lose_node(slot)
        world.settle()
        assert world.images() == ["server:2"] * 3
        assert world.status.get("refusedRevision") is None


def until_canary(world: World) -> None:
    world.until(lambda: world.shares().get("chat-r3") == "25")


def test_one_replica_alone_is_replaced_by_one_beside_it() -> None:
    world = a_world(replicas=1, nodes=2)
    world.upgrade("server:2")
    world.settle()
    assert world.images() == ["server:2"]
    assert min(world.serving) == 1


def test_with_no_replica_the_next_one_is_of_the_new_revision() -> None:
    world = a_world(replicas=0)
    world.body["spec"]["image"] = "server:2"
    world.settle()
    world.change(replicas=2)
    world.settle()
    assert world.images() == ["server:2"] * 2
    assert world.status["currentRevision"] == world.status["revision"]


def test_an_unheard_replica_is_not_let_in() -> None:
    world = a_world()
    world.upgrade("server:2", Behaviour(answers=None))
    world.tick(15)
    assert world.shares()["chat-r3"] == "closed"
    (golden,) = (gate for gate in world.rollout["gates"] if gate["gate"] == "GoldenPrompts")
    assert (golden["result"], golden["message"]) == ("Pending", "not asked yet")


def test_a_first_install_is_not_gated() -> None:
    world = World(replicas=2)
    world.settle()
    assert set(world.shares().values()) == {"open"}
    assert world.notes("RolloutStarted") == []
    assert [entry["outcome"] for entry in world.status["history"]] == ["Active"]


def test_what_is_left_to_do_is_reckoned_by_the_starts_that_were_seen() -> None:
    world = a_world()
    world.upgrade("server:2")
    world.tick()
    assert world.rollout["etaSeconds"] == 3 * 30 + 20
    world.until(lambda: world.rollout.get("updated") == 1)
    assert world.rollout["etaSeconds"] <= 2 * 60
