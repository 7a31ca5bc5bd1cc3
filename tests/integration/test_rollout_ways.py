"""What changes the way of a rollout: BlueGreen, windows, no rollback, a single replica, full machines."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from e2e.cluster.commands import run
from e2e.cluster.provider import Cluster
from gptoss_runtime.contract import Check, CheckResult, ExitCode
from tests.integration.players import Ending, Role
from tests.integration.recorder import is_ready, replicas_in, traffic_of, uids
from tests.integration.rollouts import Stage, events, heard, machines, outcomes, rolling, says, staged


NEW: Final = "simulated:ways"
WRONG, CRASHES, SECOND = "simulated:ways-wrong", "simulated:ways-crashes", "simulated:ways-second"
LONG_HOLD: Final = {"gates": {"canary": {"holdSeconds": 600}}}
NO_HOLD: Final = {"gates": {"canary": {"holdSeconds": 0}}}


@pytest.fixture(scope="module")
def stage(installed: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One namespace and one operator; each test has a deployment and machines of its own."""
    namespace = "t-rollout-ways"
    run([*installed.kubectl(), "create", "namespace", namespace], timeout_seconds=30)
    with staged(installed, namespace, tmp_path_factory.mktemp("ways")) as stage, heard(installed, stage):
        stage.players.roles[WRONG] = Role(checks={Check.GOLDEN_PROMPTS: CheckResult(ok=False, detail="no reasoning")})
        died = Ending(exit_code=ExitCode.ENGINE_DIED, message="CUDA error", with_share=1)
        stage.players.roles[CRASHES] = Role(ending=died)
        yield stage
    run([*installed.kubectl(), "delete", "namespace", namespace, "--wait=false"], timeout_seconds=30)


def test_blue_green_switches_when_all_new_ones_can_serve(stage: Stage) -> None:
    with machines(stage.user, 6, pool="blue"):
        stage.user.apply(rolling(stage.user, "blue", pool="blue", replicas=3, rollout={"strategy": "BlueGreen"}))
        old = stage.settle("blue")["status"]["revision"]
        mark = stage.change("blue", image=NEW)
        done = stage.complete("blue")
    new = done["status"]["currentRevision"]
    assert new != old
    switched = False
    for _, now in stage.recorder.moments(mark):
        blue, green = (replicas_in(now, "StatefulSet", "blue", revision) for revision in (old, new))
        if len(blue) < 3:
            serving = [pod for pod in replicas_in(now, "Pod", "blue", new) if is_ready(pod)]
            assert len(serving) == 3, "an old one has left before all new ones served"
        switched |= {traffic_of(each) for each in blue} == {"closed"} and {traffic_of(e) for e in green} == {"open"}
    assert switched, "the old ones were closed before they left"


def test_outside_its_windows_nothing_is_replaced(stage: Stage) -> None:
    far = datetime.now(UTC) + timedelta(days=3)
    window = {"name": "far", "timeZone": "UTC", "days": [f"{far:%a}"], "start": "00:00", "end": "00:01"}
    with machines(stage.user, 4, pool="window"):
        stage.user.apply(rolling(stage.user, "window", pool="window"))
        stage.settle("window")
        old = uids(stage.recorder.replicas("window"))
        stage.change("window", image=NEW, rollout={"windows": [window]})
        waits = stage.recorder.until(lambda: told(stage, "window", "Waiting"), "it waits for its window")
        assert "spec.rollout.windows: far" in waits["reason"]
        assert says(stage.recorder.deployment("window"), "Progressing") == ("False", "RolloutWaiting")
        assert uids(stage.recorder.replicas("window")) == old
        stage.change("window", rollout={"windows": None})
        stage.complete("window")
    assert not old & uids(stage.recorder.replicas("window"))


def test_without_rollback_what_failed_stays_to_be_looked_at(stage: Stage) -> None:
    with machines(stage.user, 4, pool="stays"):
        stage.user.apply(rolling(stage.user, "stays", pool="stays", rollout={"autoRollback": False}))
        stage.settle("stays")
        mark = stage.change("stays", image=WRONG)
        refused = stage.refused("stays")
        stage.recorder.until(lambda: told(stage, "stays", "Failed"), "the rollout has failed")
        assert (refused["reason"], refused["message"]) == ("WrongAnswers", "stays-r2: no reasoning")
        assert says(stage.recorder.deployment("stays"), "Stalled") == ("True", "RolloutFailed")
        assert len(stage.recorder.replicas("stays", refused["revision"])) == 1
        stage.change("stays", image=None)
        done = stage.complete("stays")
    assert "refusedRevision" not in done["status"]
    assert stage.recorder.least_ready("stays", mark) == 2
    assert stage.recorder.most("stays", refused["revision"]) == 1


def test_one_replica_alone_is_watched_and_goes_back(stage: Stage) -> None:
    with machines(stage.user, 1, pool="alone"):
        stage.user.apply(rolling(stage.user, "alone", pool="alone", replicas=1))
        stage.settle("alone")
        stage.change("alone", image=CRASHES)
        done = stage.rolled_back("alone", replicas=1)
    refused = done["status"]["refusedRevision"]
    assert (refused["reason"], refused["message"]) == ("EngineDied", "alone-r0: its server ended once: CUDA error")
    assert outcomes(done)[0] == (refused["revision"], "RolledBack")
    assert len(events(stage.user, "alone", "RolledBack")) == 1


def test_a_second_change_on_full_machines_takes_the_first_ones_canary_and_nobody_else(stage: Stage) -> None:
    with machines(stage.user, 2, pool="full"):
        stage.user.apply(rolling(stage.user, "full", pool="full", rollout=LONG_HOLD))
        stage.settle("full")
        mark = stage.change("full", image=NEW)
        stage.canary("full")
        stage.change("full", image=SECOND, rollout=NO_HOLD)
        done = stage.complete("full")
    assert stage.recorder.least_ready("full", mark) == 1
    assert stage.recorder.most("full", outcomes(done)[1][0]) == 1
    assert [outcome for _, outcome in outcomes(done)] == ["Active", "Abandoned", "Superseded"]


def told(stage: Stage, name: str, phase: str) -> dict[str, Any] | None:
    """Return what the status tells of a rollout once it is in a phase."""
    rollout: dict[str, Any] = stage.recorder.status(name).get("rollout") or {}
    return rollout if rollout.get("phase") == phase else None
