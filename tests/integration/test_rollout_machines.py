"""Rollouts where GPUs are short, and where machines are lost."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from e2e.cluster.commands import run
from e2e.cluster.provider import Cluster
from tests.integration.recorder import Obj, uids
from tests.integration.rollouts import (
    DEADLINE_SECONDS,
    PASS_SECONDS,
    SLACK_SECONDS,
    Stage,
    events,
    heard,
    machines,
    outcomes,
    rolling,
    says,
    seconds_until,
    staged,
)


NEW: Final = {"image": "simulated:new"}
FULL: Final = "the nodes have room for 0 more replicas of 1 GPU, and nothing is seen that adds nodes"
LOST_SECONDS: Final = 60
"""A node that is gone is believed to be so after 15 s."""


@pytest.fixture(scope="module")
def stage(installed: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One namespace and one operator; each test has a deployment and machines of its own."""
    namespace = "t-rollout-machines"
    run([*installed.kubectl(), "create", "namespace", namespace], timeout_seconds=30)
    with staged(installed, namespace, tmp_path_factory.mktemp("machines")) as stage, heard(installed, stage):
        yield stage
    run([*installed.kubectl(), "delete", "namespace", namespace, "--wait=false"], timeout_seconds=30)


def begun(stage: Stage, name: str) -> Obj:
    """Return what the status tells of a rollout as soon as there is one."""
    rollout: Obj = stage.recorder.until(lambda: stage.recorder.status(name).get("rollout"), f"{name} is rolled out")
    return rollout


@pytest.mark.parametrize(
    ("name", "nodes", "strategy", "least", "room"),
    [("full", 2, "Replace", 1, FULL), ("room", 3, "Surge", 2, "the nodes have room for 1 more replica of 1 GPU")],
)
def test_an_old_replica_leaves_first_only_where_the_machines_are_full(
    stage: Stage, name: str, nodes: int, strategy: str, least: int, room: str
) -> None:
    with machines(stage.user, nodes, pool=name):
        stage.user.apply(rolling(stage.user, name, pool=name))
        stage.settle(name)
        mark = stage.change(name, **NEW)
        rollout = begun(stage, name)
        assert (rollout["strategy"], rollout["steps"]) == (strategy, 2)
        done = stage.complete(name)
    assert stage.recorder.least_ready(name, mark) == least
    assert done["status"]["ready"] == "2/2"
    (started,) = events(stage.user, name, "RolloutStarted")
    assert strategy in started
    assert room in started
    print(f"{name}: complete after {seconds_until(stage, mark, name, serves(done)):.1f} s")  # noqa: T201


def test_a_surge_without_room_waits_for_the_deadline_and_goes(stage: Stage) -> None:
    surge = {"strategy": "Surge", "progressDeadlineSeconds": DEADLINE_SECONDS}
    with machines(stage.user, 2, pool="surge"):
        stage.user.apply(rolling(stage.user, "surge", pool="surge", rollout=surge))
        before = stage.settle("surge")
        old = uids(stage.recorder.replicas("surge"))
        mark = stage.change("surge", **NEW)
        after = stage.rolled_back("surge", replicas=2)
    refused = after["status"]["refusedRevision"]
    assert refused["reason"] == "ProgressDeadlineExceeded"
    assert "surge-r2: nothing got on for 10 s" in refused["message"]
    assert "no node takes it" in refused["message"]
    assert uids(stage.recorder.replicas("surge")) == old
    assert stage.recorder.least_ready("surge", mark) == 2
    assert stage.recorder.most("surge", refused["revision"]) == 1
    assert outcomes(after)[0] == (refused["revision"], "RolledBack")
    assert after["status"]["currentRevision"] == before["status"]["currentRevision"]
    assert says(after, "Stalled") == ("True", "RolledBack")
    seconds = seconds_until(stage, mark, "surge", lambda o: "refusedRevision" in o["status"])
    assert seconds <= DEADLINE_SECONDS + PASS_SECONDS + SLACK_SECONDS
    print(f"surge: refused after {seconds:.1f} s: {refused['message']}")  # noqa: T201


def test_a_rollout_outlives_the_machine_of_its_canary_and_that_of_an_old_replica(stage: Stage) -> None:
    """Both at once, in two deployments, since it takes a while until a machine is believed to be gone."""
    names = ("canary", "old")
    hold = {"gates": {"canary": {"holdSeconds": LOST_SECONDS}}}
    with ExitStack() as opened:
        for name in names:
            opened.enter_context(machines(stage.user, *[1] * 5, pool=name))
        stage.user.apply(*(rolling(stage.user, name, pool=name, rollout=hold) for name in names))
        before = {name: stage.settle(name)["status"]["revision"] for name in names}
        marks = {name: stage.change(name, **NEW) for name in names}
        canaries = {name: stage.canary(name) for name in names}
        victims = {"canary": canaries["canary"], "old": stage.recorder.replicas("old", before["old"], kind="Pod")[0]}
        for pod in victims.values():
            stage.user("delete", "node", pod["spec"]["nodeName"], "--wait=false")
        for name in names:
            given_up(stage, name, victims[name])
            new = stage.recorder.status(name)["revision"]
            assert stage.recorder.most(name, new) == 1, "the canary has not shown anything yet"
            stage.change(name, rollout={"gates": {"canary": {"holdSeconds": 0}}})
        # A pod on a machine that is gone stays in sight until Kubernetes clears it away.
        done = {name: stage.rolled_out(name, seconds=LOST_SECONDS) for name in names}
    for name in names:
        assert outcomes(done[name])[0] == (done[name]["status"]["revision"], "Active")
        assert events(stage.user, name, "RolledBack") == []
        assert stage.recorder.least_ready(name, marks[name]) >= 1
        took = seconds_until(stage, marks[name], name, serves(done[name]))
        print(f"machine of {name} lost: complete after {took:.1f} s")  # noqa: T201


def given_up(stage: Stage, name: str, pod: Obj) -> None:
    """Wait until the replica of a pod is removed."""
    gone = pod["metadata"]["ownerReferences"][0]["uid"]
    stage.recorder.until(
        lambda: gone not in uids(stage.recorder.replicas(name)),
        f"{name}: the replica on the lost machine is given up",
        seconds=LOST_SECONDS,
    )


def serves(done: Obj) -> Callable[[Obj], bool]:
    """Return whether what a deployment has come to serves in it as a whole."""
    return lambda obj: bool(obj["status"]["currentRevision"] == done["status"]["revision"])
