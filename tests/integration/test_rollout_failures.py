"""A revision that fails is on one replica at most and goes by itself; the one of before serves all the time."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from e2e.cluster.commands import run
from e2e.cluster.provider import Cluster
from e2e.kubectl import Kubectl
from gptoss_runtime.contract import Check, CheckResult, Counter, ExitCode, Phase
from tests.integration.players import PER_SECOND, Ending, Role, saying
from tests.integration.recorder import Obj, uids
from tests.integration.rollouts import (
    DEADLINE_SECONDS,
    DOES_NOT_PULL,
    NO_DEADLINE_SECONDS,
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


REPLICAS = 2
LOADING = saying(Phase.LOADING, "vLLM is loading the model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """A way to fail."""

    role: Role = field(default_factory=Role)
    image: str = ""
    """Empty: one that is named after the way."""
    reason: str
    words: str
    """Of which the message has these."""
    within_seconds: float = 0.0
    """After which it must be noticed, beside a pass and the slack."""
    deadline_seconds: int = NO_DEADLINE_SECONDS


WAYS = {
    "no-image": Bad(
        image=DOES_NOT_PULL,
        reason="ProgressDeadlineExceeded",
        words="its image cannot be had (Back-off pulling image simulated:does-not-pull: manifest unknown)",
        within_seconds=DEADLINE_SECONDS,
        deadline_seconds=DEADLINE_SECONDS,
    ),
    "no-memory": Bad(
        role=Role(starts=LOADING, ending=Ending(exit_code=137, reason="OOMKilled", times=3)),
        reason="OutOfMemory",
        words="its server ended 3 times: it was killed for memory: raise spec.pod.resources.memory",
    ),
    "never-ready": Bad(
        role=Role(starts=LOADING),
        reason="ProgressDeadlineExceeded",
        words="vLLM is loading the model",
        within_seconds=DEADLINE_SECONDS,
        deadline_seconds=DEADLINE_SECONDS,
    ),
    "crash": Bad(
        role=Role(
            ending=Ending(exit_code=ExitCode.ENGINE_DIED, message="CUDA error: an illegal access", with_share=25)
        ),
        reason="EngineDied",
        words="its server ended once: CUDA error: an illegal access",
        within_seconds=SLACK_SECONDS,
    ),
    "wrong-answers": Bad(
        role=Role(checks={Check.GOLDEN_PROMPTS: CheckResult(ok=False, detail="capital: the answer lacks 'paris'")}),
        reason="WrongAnswers",
        words="capital: the answer lacks 'paris'",
    ),
    "hung": Bad(
        role=Role(starts=saying(Phase.NOT_READY, "its engine has made no step for 120 s")),
        reason="UnhealthyReplica",
        words="its engine has made no step for 120 s",
    ),
    "errors": Bad(
        role=Role(per_second={**PER_SECOND, Counter.ANSWERS_FAILED: 30.0}),
        reason="CanaryWorse",
        words="% of its requests failed, 0.0 % of the others'",
        within_seconds=SLACK_SECONDS,
    ),
    "slow": Bad(
        role=Role(per_second={**PER_SECOND, Counter.FIRST_TOKEN_SECONDS: 80.0}),
        reason="CanaryWorse",
        words="its first tokens come later",
        within_seconds=SLACK_SECONDS,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One deployment before and after a revision of it failed."""

    bad: Bad
    before: Obj
    old: set[str]
    """StatefulSets that served before, by their uids."""
    mark: int
    after: Obj


@pytest.fixture(scope="module")
def stage(installed: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One namespace for all ways: they fail at the same time, and one operator hears them all."""
    namespace = "t-failed-rollouts"
    run([*installed.kubectl(), "create", "namespace", namespace], timeout_seconds=30)
    scratch = tmp_path_factory.mktemp("failures")
    with (
        machines(Kubectl(installed, namespace), 8, 8, 8, 8),
        staged(installed, namespace, scratch) as stage,
        heard(installed, stage),
    ):
        yield stage
    run([*installed.kubectl(), "delete", "namespace", namespace, "--wait=false"], timeout_seconds=30)


@pytest.fixture(scope="module")
def attempts(stage: Stage) -> dict[str, Attempt]:
    """What became of each way. Beside them, a good change of another deployment is rolled out."""
    names = [*WAYS, "good"]
    stage.players.roles |= {f"simulated:{name}": bad.role for name, bad in WAYS.items()}
    stage.user.apply(*(rolling(stage.user, name, replicas=REPLICAS, rollout=deadline(name)) for name in names))
    before = {name: stage.settle(name) for name in names}
    old = {name: uids(stage.recorder.replicas(name)) for name in names}
    images = {name: WAYS[name].image or f"simulated:{name}" for name in WAYS}
    marks = {name: stage.change(name, image=images.get(name, "simulated:good")) for name in names}
    after = {name: stage.rolled_back(name, replicas=REPLICAS) for name in WAYS} | {"good": stage.complete("good")}
    well = Bad(reason="", words="")
    return {
        name: Attempt(bad=WAYS.get(name, well), before=before[name], old=old[name], mark=marks[name], after=after[name])
        for name in names
    }


def deadline(name: str) -> dict[str, int]:
    return {"progressDeadlineSeconds": WAYS[name].deadline_seconds} if name in WAYS else {}


@pytest.mark.parametrize("way", WAYS)
def test_a_revision_that_fails_is_rolled_back(stage: Stage, attempts: dict[str, Attempt], way: str) -> None:
    attempt = attempts[way]
    bad, after = attempt.bad, attempt.after
    refused = after["status"]["refusedRevision"]
    revision, served = refused["revision"], attempt.before["status"]["currentRevision"]
    seconds = seconds_until(stage, attempt.mark, way, lambda o: "refusedRevision" in o["status"])
    print(f"{way}: refused after {seconds:.1f} s: {refused['reason']}: {refused['message']}")  # noqa: T201

    assert refused["reason"] == bad.reason
    assert refused["message"].startswith(f"{way}-r2: ")
    assert bad.words in refused["message"]
    assert seconds <= bad.within_seconds + PASS_SECONDS + SLACK_SECONDS

    assert stage.recorder.most(way, revision) == 1
    assert stage.recorder.most(way, revision, kind="Pod") == 1
    assert stage.recorder.least_ready(way, attempt.mark) >= REPLICAS
    assert uids(stage.serving(way)) == uids(stage.recorder.replicas(way)) == attempt.old

    assert after["spec"] == attempt.before["spec"] | {"image": after["spec"]["image"]}
    assert after["metadata"]["generation"] == attempt.before["metadata"]["generation"] + 1, "the user's change alone"
    assert (after["status"]["currentRevision"], after["status"]["revision"]) == (served, revision)
    assert outcomes(after)[:2] == [(revision, "RolledBack"), (served, "Active")]
    assert {kind: says(after, kind) for kind in ("Stalled", "Degraded", "Available")} == {
        "Stalled": ("True", "RolledBack"),
        "Degraded": ("True", "RolledBack"),
        "Available": ("True", "ReplicasReady"),
    }
    (told,) = events(stage.user, way, "RolledBack")
    assert bad.words in told


def test_a_good_revision_is_rolled_out_beside_them(stage: Stage, attempts: dict[str, Attempt]) -> None:
    attempt = attempts["good"]
    status: dict[str, Any] = attempt.after["status"]
    assert stage.recorder.least_ready("good", attempt.mark) >= REPLICAS
    assert stage.recorder.most("good", attempt.before["status"]["revision"]) == REPLICAS
    assert outcomes(attempt.after)[:2] == [
        (status["revision"], "Active"),
        (attempt.before["status"]["revision"], "Superseded"),
    ]
    assert len(uids(stage.serving("good"))) == REPLICAS
    assert not uids(stage.serving("good")) & attempt.old
    gates = [message.split(": ")[:2] for message in events(stage.user, "good", "GatePassed")]
    assert {gate for replica, gate in gates if replica == "good-r2"} == {
        "Ready",
        "DeepHealth",
        "GoldenPrompts",
        "Canary",
    }
