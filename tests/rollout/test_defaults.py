"""When defaults that were recorded for an object move to those of a newer operator."""

from dataclasses import replace

import pytest

from tests.core.builders import OPTIONS
from tests.rollout.world import World, a_world


NEWER = replace(OPTIONS, server_image="server:9", model_revisions={"gpt-oss-20b": "commit9"})


def upgraded(policy: str) -> World:
    """Return a settled world whose operator was upgraded then."""
    world = a_world(upgradePolicy=policy)
    world.serving.clear()
    world.options = NEWER
    world.settle()
    return world


@pytest.mark.parametrize("policy", ["Never", "WithChange"])
def test_an_upgrade_of_the_operator_restarts_nothing(policy: str) -> None:
    world = a_world(upgradePolicy=policy)
    running = world.uids()
    world.options = NEWER
    world.tick(20)
    assert world.uids() == running
    assert world.status["resolved"]["image"] == "server:1"


def test_a_change_of_the_spec_takes_the_defaults_of_before_unless_they_may_move_with_it() -> None:
    for policy, image in (("Never", "server:1"), ("WithChange", "server:9")):
        world = upgraded(policy)
        world.change(engine={"maxModelLen": 4096})
        world.settle()
        assert world.images() == [image] * 3
        assert world.status["resolved"]["image"] == image


def test_a_change_that_is_taken_back_comes_back_to_the_defaults_that_it_had() -> None:
    world = upgraded("WithChange")
    first = world.status["revision"]
    world.change(engine={"maxModelLen": 4096})
    world.settle()
    del world.body["spec"]["engine"]
    world.settle()
    assert (world.images(), world.status["revision"]) == (["server:1"] * 3, first)


def test_always_rolls_to_the_defaults_of_a_newer_operator() -> None:
    world = upgraded("Always")
    assert world.images() == ["server:9"] * 3
    assert min(world.serving) >= 3
    assert world.status["resolved"]["modelRevision"] == "commit9"
    orders = next(m for key, m in world.manifests.items() if key.kind == "StatefulSet" and key in world.children)
    assert "commit9" in str(orders["spec"]["template"])


def test_what_a_newer_operator_would_render_otherwise_stays_as_it_was_recorded() -> None:
    world = a_world()
    world.options = replace(NEWER, image_pull_policy="Always")
    world.change(replicas=4)
    world.settle()
    policies = {
        manifest["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"]
        for key, manifest in world.manifests.items()
        if key.kind == "StatefulSet"
    }
    assert policies == {"IfNotPresent"}


def test_labels_and_priority_reach_replicas_that_are_made_later() -> None:
    world = a_world()
    running = world.uids()
    world.change(pod={"labels": {"team": "a"}, "priorityClassName": "high"})
    world.settle()
    assert world.uids() == running
    manifests = [manifest for key, manifest in world.manifests.items() if key.kind == "StatefulSet"]
    assert {m["spec"]["template"]["metadata"]["labels"]["team"] for m in manifests} == {"a"}
    assert {m["spec"]["template"]["spec"]["priorityClassName"] for m in manifests} == {"high"}


def test_a_lost_status_changes_nothing() -> None:
    world = a_world()
    running, revision = world.uids(), world.status["revision"]
    world.options = NEWER
    del world.body["status"]
    world.memory = None
    world.settle()
    assert world.uids() == running
    assert world.status["currentRevision"] == revision
