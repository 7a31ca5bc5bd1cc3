"""`kubectl gptoss rollout` beside a running operator: it follows, pauses, goes on and looks back."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.cluster.provider import Cluster
from gptoss_runtime.contract import Check, CheckResult
from tests.integration.players import Role
from tests.integration.recorder import uids
from tests.integration.rollouts import PASS_SECONDS, Stage, heard, machines, outcomes, rolling, staged


REPLICAS = 3
COMMAND_SECONDS = 60
NEW, BAD = {"image": "simulated:new"}, {"image": "simulated:bad"}
WRONG = Role(checks={Check.GOLDEN_PROMPTS: CheckResult(ok=False, detail="capital: the answer lacks 'paris'")})


@pytest.fixture
def stage(installed: Cluster, namespace: str, tmp_path: Path) -> Iterator[Stage]:
    with staged(installed, namespace, tmp_path) as stage, heard(installed, stage), machines(stage.user, 8):
        stage.players.roles["simulated:bad"] = WRONG
        yield stage


def command(stage: Stage, *words: str) -> list[str]:
    flags = [f"--namespace={stage.user.namespace}", f"--kubeconfig={stage.user.cluster.kubeconfig}"]
    return [sys.executable, "-m", "gptoss_operator.cli.kubectl_gptoss", "rollout", *words, *flags]


def rollout(stage: Stage, *words: str) -> str:
    """Return what `kubectl gptoss rollout` prints."""
    done = subprocess.run(
        command(stage, *words),
        env=stage.user.cluster.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def watching(stage: Stage) -> Iterator["subprocess.Popen[str]"]:
    """Follow the rollout in another terminal."""
    words = command(stage, "status", "chat", "--watch", f"--timeout={COMMAND_SECONDS}")
    pipe = subprocess.PIPE
    with subprocess.Popen(words, env=stage.user.cluster.environment(), stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_rollout_is_paused_in_the_middle_goes_on_and_is_told(stage: Stage) -> None:
    slowly = {"annotations": {"simulated/starts-in": "1s"}}
    stage.user.apply(rolling(stage.user, replicas=REPLICAS, pod=slowly))
    before = stage.settle()["status"]["revision"]
    old = uids(stage.recorder.replicas("chat"))

    def left() -> set[str]:
        return old & uids(stage.recorder.replicas("chat"))

    stage.change(**NEW)
    with watching(stage) as watcher:
        stage.recorder.until(lambda: left() != old, "an old replica has left")
        said = rollout(stage, "pause", "chat")
        assert "chat is paused: no further replica is replaced" in said
        stage.recorder.until(
            lambda: stage.recorder.status("chat")["rollout"]["phase"] == "Paused", "the operator has paused"
        )
        paused = left()
        assert paused
        with pytest.raises(AssertionError, match="another leaves"):
            stage.recorder.until(lambda: left() != paused, "another leaves", seconds=2 * PASS_SECONDS)
        shown = rollout(stage, "status", "chat")
        assert "chat: Paused" in shown
        assert "by spec.rollout.paused" in shown
        assert watcher.poll() is None

        assert "chat goes on" in rollout(stage, "resume", "chat")
        done = stage.complete()
        out, _ = watcher.communicate(timeout=COMMAND_SECONDS)
    assert watcher.returncode == 0
    revision = done["status"]["revision"]
    assert out.splitlines()[-1] == f"chat: complete: revision {revision} serves"
    assert f"from {before} to {revision}" in out
    header, *rows = rollout(stage, "history", "chat").splitlines()
    assert header.split()[:3] == ["REVISION", "OUTCOME", "AGE"]
    assert [tuple(row.split()[:2]) for row in rows] == outcomes(done) == [(revision, "Active"), (before, "Superseded")]


def test_whoever_follows_a_rollout_that_is_rolled_back_gets_a_failure(stage: Stage) -> None:
    stage.user.apply(rolling(stage.user))
    stage.settle()
    stage.change(**BAD)
    with watching(stage) as watcher:
        out, errors = watcher.communicate(timeout=COMMAND_SECONDS)
    refused = stage.rolled_back(replicas=2)["status"]["refusedRevision"]
    assert watcher.returncode == 1
    assert f"rolled back: revision {refused['revision']}: WrongAnswers" in errors
    assert "the answer lacks 'paris'" in errors
    assert refused["revision"] in rollout(stage, "history", "chat")
    assert "is refused" in rollout(stage, "status", "chat")
    print(out)  # noqa: T201
