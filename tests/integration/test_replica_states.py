"""What replicas say of themselves reaches the user. Pods are simulated, and a program of the test speaks for them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.children import eventually
from e2e.cluster.commands import run
from e2e.cluster.provider import Cluster
from e2e.kubectl import Kubectl
from e2e.watch import condition, until
from gptoss_runtime.contract import Check, CheckResult, Notice, NoticeKind, Phase, ReplicaState, Verdict
from tests.integration.asking import SETTLE_SECONDS, deployment, settle
from tests.integration.operator_process import STOP_SECONDS
from tests.integration.simulated import OPERATOR_PORT, REPOSITORY, hearing_operator


WELL = ReplicaState(
    start_id="one",
    sequence=1,
    phase=Phase.READY,
    verdict=Verdict(ready=True, live=True, reason="vLLM is up"),
    uptime_seconds=1.0,
    checks={Check.PARAMETERS_ACCESSIBLE: CheckResult(ok=True, detail="the probe's answer is as at the start")},
)
ILL = replace(
    WELL, checks={Check.PARAMETERS_ACCESSIBLE: CheckResult(ok=False, detail="the probe's answer has changed")}
)
TAKEN = Notice(kind=NoticeKind.TERMINATION, source="AWS spot/instance-action", deadline=1800000000.0)
HINT = Notice(kind=NoticeKind.REBALANCE, source="AWS events/recommendations/rebalance")
TAKEN_WORDS = "its machine will be taken away at 2027-01-15T08:00:00Z (AWS spot/instance-action)"


class Replicas:
    """Says things in the name of simulated replicas, to an operator that runs in the cluster's own network."""

    def __init__(self, cluster: Cluster, user: Kubectl, scratch: Path) -> None:
        self._cluster = cluster
        self._user = user
        self._scratch = scratch
        self.said = scratch / "said"
        self.said.mkdir()

    def say(self, pod: str, state: ReplicaState) -> None:
        address = self._user.json("get", "pod", pod)["status"]["podIP"]
        draft = self.said / "draft"
        draft.write_text(state.encode())
        draft.replace(self.said / address)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Run an operator that hears it, and kill it afterwards."""
        with hearing_operator(self._cluster, self._user.namespace, self._scratch / "operator.log"):
            yield

    def metrics(self) -> str:
        """Return the metrics of the operator that hears it."""
        ask = (
            "import urllib.request as u;"
            f"print(u.urlopen('http://127.0.0.1:{OPERATOR_PORT}/metrics', timeout=5).read().decode())"
        )
        return run([*self._cluster.enter(), sys.executable, "-I", "-c", ask], timeout_seconds=20)


@pytest.fixture
def silent(installed: Cluster, user: Kubectl, tmp_path: Path) -> Iterator[Replicas]:
    """What may be said, before an operator hears it."""
    replicas = Replicas(installed, user, tmp_path)
    speak = [*installed.enter(), sys.executable, "-m", "tests.integration.said", str(replicas.said)]
    with subprocess.Popen(speak, cwd=REPOSITORY, stdout=subprocess.PIPE) as speaker:
        try:
            assert speaker.stdout is not None
            assert speaker.stdout.readline() == b"up\n"
            yield replicas
        finally:
            speaker.kill()
            speaker.wait(timeout=STOP_SECONDS)


@pytest.fixture
def replicas(silent: Replicas) -> Iterator[Replicas]:
    """What may be said, to an operator."""
    with silent.heard():
        yield silent


def degraded(user: Kubectl, status: str) -> str:
    obj = until(
        user, "chat", lambda o: condition(o, "Degraded")["status"] == status, timeout_seconds=SETTLE_SECONDS, show=False
    )
    found = condition(obj, "Degraded")
    return f"{found['reason']}: {found['message']}"


def events(user: Kubectl, reason: str) -> list[str]:
    return [f"{e['type']}: {e['message']}" for e in user.items("events") if e["reason"] == reason]


def test_a_failed_check_is_a_condition_until_it_passes(user: Kubectl, replicas: Replicas) -> None:
    user.apply(deployment(replicas=2))
    settle(user)
    words = "chat-r1: parameters_accessible: the probe's answer has changed"

    replicas.say("chat-r0-0", WELL)
    replicas.say("chat-r1-0", ILL)
    assert degraded(user, "True") == f"UnhealthyReplica: {words}"
    assert settle(user)["status"]["ready"] == "2/2", "it answers, so it counts"
    assert events(user, "UnhealthyReplica") == [f"Warning: {words}"]

    replicas.say("chat-r1-0", WELL)
    assert degraded(user, "False").startswith("AsExpected")
    assert 'gptoss_operator_scrapes_total{result="ok"}' in replicas.metrics()


def test_another_operator_takes_nothing_back_and_says_nothing_twice(user: Kubectl, silent: Replicas) -> None:
    with silent.heard():
        user.apply(deployment(replicas=1))
        settle(user)
        silent.say("chat-r0-0", replace(ILL, notice=HINT))
        degraded(user, "True")
        until(user, "chat", lambda o: "notices" in o["status"], timeout_seconds=SETTLE_SECONDS, show=False)
    before = user.json("get", "gptoss", "chat")["status"]
    with silent.heard():
        eventually(lambda: 'reconcile_total{result="changed"}' in silent.metrics(), "everything is applied once")
        assert user.json("get", "gptoss", "chat")["status"] == before
        assert len(events(user, "UnhealthyReplica")) == len(events(user, "InterruptionNotice")) == 1


def test_a_hint_is_told_and_its_replica_stays(user: Kubectl, replicas: Replicas) -> None:
    user.apply(deployment(replicas=2))
    settle(user)

    replicas.say("chat-r1-0", replace(WELL, notice=HINT))
    obj = until(user, "chat", lambda o: "notices" in o["status"], timeout_seconds=SETTLE_SECONDS, show=False)
    assert obj["status"]["notices"] == [{"replica": "chat-r1", "kind": "Rebalance", "source": HINT.source}]
    assert obj["status"]["ready"] == "2/2"
    assert events(user, "InterruptionNotice") == [
        f"Normal: chat-r1: its machine may be taken away soon ({HINT.source}): its requests go on"
    ]

    replicas.say("chat-r1-0", WELL)
    until(user, "chat", lambda o: "notices" not in o["status"], timeout_seconds=SETTLE_SECONDS, show=False)


def test_a_notice_is_told_while_its_replica_finishes_beside_its_successor(user: Kubectl, replicas: Replicas) -> None:
    user.apply(deployment(replicas=2))
    settle(user)
    # Simulated pods go at once. This one takes its time, as one with requests does.
    hold = {"metadata": {"finalizers": ["example.com/has-requests"]}}
    user("patch", "pod", "chat-r1-0", "--type=merge", "-p", json.dumps(hold))

    replicas.say("chat-r1-0", replace(WELL, notice=TAKEN))
    eventually(lambda: "chat-r2-0" in names(user) and leaves(user, "chat-r1-0"), "its successor is there")
    assert events(user, "InterruptionNotice") == [f"Warning: chat-r1: {TAKEN_WORDS}: it finishes its requests"]

    user("patch", "pod", "chat-r1-0", "--type=merge", "-p", json.dumps({"metadata": {"finalizers": None}}))
    eventually(lambda: "chat-r1-0" not in names(user), "it is gone")
    obj = settle(user)
    assert (obj["status"]["ready"], obj["status"].get("notices")) == ("2/2", None)


def names(user: Kubectl) -> list[str]:
    return [pod["metadata"]["name"] for pod in user.items("pods")]


def leaves(user: Kubectl, pod: str) -> bool:
    return "deletionTimestamp" in user.json("get", "pod", pod)["metadata"]


def test_a_start_and_a_hang_are_explained(user: Kubectl, replicas: Replicas) -> None:
    user.apply(deployment(replicas=1))
    settle(user)
    not_ready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    user("patch", "pod", "chat-r0-0", "--subresource=status", "--type=strategic", "-p", json.dumps(not_ready))

    loading = Verdict(ready=False, live=True, reason="vLLM is loading the model")
    replicas.say("chat-r0-0", replace(WELL, phase=Phase.LOADING, verdict=loading))
    until(
        user,
        "chat",
        lambda o: condition(o, "Progressing")["message"] == "chat-r0: vLLM is loading the model",
        timeout_seconds=SETTLE_SECONDS,
        show=False,
    )

    stalled = Verdict(ready=False, live=True, reason="its engine makes no progress")
    replicas.say("chat-r0-0", replace(WELL, phase=Phase.NOT_READY, verdict=stalled))
    assert degraded(user, "True") == "UnhealthyReplica: chat-r0: its engine makes no progress"
    available = condition(user.json("get", "gptoss", "chat"), "Available")
    assert (available["status"], available["reason"]) == ("False", "UnhealthyReplica")
