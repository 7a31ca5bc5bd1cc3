"""Fifty replicas are rolled out in just the steps that were announced."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster.provider import Cluster
from gptoss_operator.core.rollout.waves import sizes_of
from tests.integration.recorder import is_ready, revision_of, traffic_of
from tests.integration.rollouts import Stage, heard, machines, rolling, seconds_until, staged


REPLICAS, SURGE = 50, 5
SECONDS = 100


@pytest.fixture
def stage(installed: Cluster, namespace: str, tmp_path: Path) -> Iterator[Stage]:
    with (
        staged(installed, namespace, tmp_path) as stage,
        heard(installed, stage),
        machines(stage.user, *[8] * ((REPLICAS + SURGE + 7) // 8)),
    ):
        yield stage


def waves(stage: Stage, revision: str, since: int) -> list[int]:
    """Return how many replicas of a revision served whenever old ones left for them."""
    counts: list[int] = []
    for change, now in stage.recorder.moments(since):
        if change.kind == "StatefulSet" and change.gone and revision_of(change.obj) != revision:
            pods = (obj for (kind, _), obj in now.items() if kind == "Pod" and revision_of(obj) == revision)
            serving = sum(is_ready(pod) and traffic_of(pod) == "open" for pod in pods)
            counts += [serving] if serving not in counts else []
    return counts


@pytest.mark.timeout(180)
def test_fifty_replicas_are_replaced_in_the_steps_that_were_announced(stage: Stage) -> None:
    slowly = {"annotations": {"simulated/starts-in": "1s"}}
    rollout = {"maxSurge": SURGE, "gates": {"canary": {"holdSeconds": 1}}}
    stage.user.apply(rolling(stage.user, replicas=REPLICAS, rollout=rollout, pod=slowly))
    stage.settle(seconds=SECONDS)
    mark = stage.change(image="simulated:new")
    announced = stage.recorder.until(lambda: stage.recorder.status("chat").get("rollout"), "the rollout begins")
    done = stage.complete(seconds=SECONDS)
    revision = done["status"]["revision"]
    took = seconds_until(stage, mark, "chat", lambda obj: obj["status"]["currentRevision"] == revision)
    sizes = waves(stage, revision, mark)
    print(f"{REPLICAS} replicas in {took:.0f} s, {took / len(sizes):.1f} s for each of {len(sizes)} waves: {sizes}")  # noqa: T201

    assert tuple(sizes) == sizes_of(REPLICAS, SURGE, 1)
    assert announced["steps"] == len(sizes)
    assert stage.recorder.least_ready("chat", mark) == REPLICAS
    most = max(len({key for key in now if key[0] == "StatefulSet"}) for _, now in stage.recorder.moments(mark))
    assert most == REPLICAS + SURGE
