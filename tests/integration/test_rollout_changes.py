"""Changes of the spec in the middle of a rollout, changes that restart nothing, and the end of a deployment."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from e2e.children import eventually
from e2e.cluster.commands import run
from e2e.cluster.provider import Cluster
from tests.integration.recorder import Obj, revision_of, uids
from tests.integration.rollouts import Stage, events, heard, machines, outcomes, rolling, staged


LONG_HOLD: Final = {"gates": {"canary": {"holdSeconds": 600}}}
NO_HOLD: Final = {"gates": {"canary": {"holdSeconds": 0}}}
STARTS_SLOWLY: Final = {"annotations": {"simulated/starts-in": "1s"}}
FIRST, SECOND = {"image": "simulated:first"}, {"image": "simulated:second"}


@pytest.fixture(scope="module")
def stage(installed: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One namespace and one operator; each test has a deployment of its own."""
    namespace = "t-rollout-changes"
    run([*installed.kubectl(), "create", "namespace", namespace], timeout_seconds=30)
    scratch = tmp_path_factory.mktemp("changes")
    with staged(installed, namespace, scratch) as stage, heard(installed, stage), machines(stage.user, 8, 8):
        yield stage
    run([*installed.kubectl(), "delete", "namespace", namespace, "--wait=false"], timeout_seconds=30)


def test_of_two_changes_within_a_second_the_second_comes_to_serve(stage: Stage) -> None:
    stage.user.apply(rolling(stage.user, "twice"))
    served = stage.settle("twice")["status"]["revision"]
    mark = stage.change("twice", **FIRST)
    stage.change("twice", **SECOND)
    done = stage.complete("twice")
    made = {
        revision_of(change.obj) for change in stage.recorder.since(mark, "StatefulSet") if is_of(change.obj, "twice")
    }
    for other in made - {served, done["status"]["revision"]}:
        assert stage.recorder.most("twice", other) == 1
    assert stage.recorder.least_ready("twice", mark) == 2
    (active, *_) = outcomes(done)
    assert active == (done["status"]["revision"], "Active")
    assert image_of(stage, "twice") == {SECOND["image"]}


def test_a_change_that_is_taken_back_leaves_every_old_replica_where_it_is(stage: Stage) -> None:
    stage.user.apply(rolling(stage.user, "back", replicas=3, rollout=NO_HOLD, pod=STARTS_SLOWLY))
    before = stage.settle("back")
    old = uids(stage.recorder.replicas("back"))
    mark = stage.change("back", **FIRST)
    left = stage.recorder.until(lambda: half_way(stage, "back", old), "one of the old replicas has left")
    stage.change("back", image=None)
    done = stage.complete("back")
    assert left < uids(stage.recorder.replicas("back")), "those that were left are still there"
    assert done["status"]["currentRevision"] == done["status"]["revision"] == before["status"]["revision"]
    assert "refusedRevision" not in done["status"]
    assert events(stage.user, "back", "RolledBack") == []
    assert stage.recorder.least_ready("back", mark) >= 3
    assert {outcome for _, outcome in outcomes(done)} == {"Active", "Abandoned"}


def test_a_change_that_is_taken_back_at_the_canary_replaces_nothing(stage: Stage) -> None:
    stage.user.apply(rolling(stage.user, "canary", rollout=LONG_HOLD))
    before = stage.settle("canary")
    old = uids(stage.recorder.replicas("canary"))
    mark = stage.change("canary", **FIRST)
    stage.recorder.until(lambda: len(stage.recorder.replicas("canary")) == 3, "there is a canary")
    stage.change("canary", image=None)
    done = stage.complete("canary")
    assert uids(stage.recorder.replicas("canary")) == old
    assert done["status"]["currentRevision"] == before["status"]["currentRevision"]
    assert stage.recorder.least_ready("canary", mark) == 2
    assert events(stage.user, "canary", "RolledBack") == []


NOTHING_RESTARTS: Final[dict[str, dict[str, Any]]] = {
    "more replicas": {"replicas": 3},
    "fewer replicas": {"replicas": 2},
    "scaling": {"replicas": None, "scaling": {"minReplicas": 2, "maxReplicas": 4}},
    "no scaling": {"scaling": None, "replicas": 2},
    "routing": {"routing": {"strategy": "RoundRobin"}},
    "gateways": {"routing": {"gateway": {"replicas": 3}}},
    "labels": {"pod": {"labels": {"team": "a"}}},
    "annotations": {"pod": {"annotations": {"example.com/note": "x"}}},
    "pull secrets": {"pod": {"imagePullSecrets": ["registry"]}},
    "prompts": {"rollout": {"gates": {"prompts": [{"name": "one", "prompt": "1+1?", "contains": ["2"]}]}}},
    "pace": {"rollout": {"maxSurge": "50%", "maxUnavailable": 1, "strategy": "BlueGreen"}},
    "upgrades": {"upgradePolicy": "WithChange"},
    "a default said": {"drainSeconds": 120},
    "a dry run": {"mode": "DryRun"},
    "no dry run": {"mode": "Active"},
    "the default again": {"engine": {"enforceEager": False}},
}


def test_what_replicas_need_not_start_again_for_starts_none_again(stage: Stage) -> None:
    stage.user.apply(rolling(stage.user, "calm"))
    revision = stage.settle("calm")["status"]["revision"]
    old = {kind: uids(stage.recorder.replicas("calm", kind=kind)) for kind in ("StatefulSet", "Pod")}
    for what, spec in NOTHING_RESTARTS.items():
        stage.change("calm", **spec)
        await_seen(stage, "calm", spec.get("replicas") or 2, what)
        for kind, before in old.items():
            assert before <= uids(stage.recorder.replicas("calm", kind=kind)), what
        assert stage.recorder.status("calm")["revision"] == revision, what
    stage.user("annotate", "gptoss", "calm", "example.com/x=y")
    stage.user("label", "gptoss", "calm", "team=a")
    stage.change("calm", rollout={"trigger": "now they shall"})
    stage.complete("calm")
    assert not old["StatefulSet"] & uids(stage.recorder.replicas("calm"))


def test_a_deployment_that_is_deleted_in_the_middle_of_a_rollout_leaves_nothing(stage: Stage) -> None:
    stage.user.apply(rolling(stage.user, "gone", rollout=LONG_HOLD))
    stage.settle("gone")
    stage.change("gone", **FIRST)
    stage.recorder.until(lambda: len(stage.recorder.replicas("gone")) == 3, "there is a canary")
    ours = "--selector=gptoss.dev/deployment=gone"
    kinds = "statefulsets,pods,services,configmaps,deployments,poddisruptionbudgets,controllerrevisions"
    assert len(stage.user.items("controllerrevisions", f"{ours},app.kubernetes.io/component=revision")) == 2
    stage.user("delete", "gptoss", "gone", "--timeout=30s")
    # The garbage collector looks for new kinds every 30 s.
    eventually(lambda: stage.user.items(kinds, ours) == [], "everything is gone", seconds=60)


def is_of(obj: Obj, name: str) -> bool:
    return bool(obj["metadata"]["labels"]["gptoss.dev/deployment"] == name)


def image_of(stage: Stage, name: str) -> set[str]:
    pods = stage.recorder.replicas(name, kind="Pod")
    return {c["image"] for pod in pods for c in pod["spec"]["containers"] if c["name"] == "server"}


def half_way(stage: Stage, name: str, old: set[str]) -> set[str] | None:
    """Return the old replicas that are left, once some have gone. None: all are there."""
    left = old & uids(stage.recorder.replicas(name))
    return left if left != old else None


def await_seen(stage: Stage, name: str, replicas: int, what: str) -> None:
    """Wait until the newest spec has been seen, and as many replicas serve as it wants."""

    def seen() -> bool:
        obj = stage.recorder.deployment(name)
        same = obj["status"]["observedGeneration"] == obj["metadata"]["generation"]
        return same and len(stage.recorder.replicas(name)) == len(stage.serving(name)) == replicas

    stage.recorder.until(seen, f"{what} is seen")
