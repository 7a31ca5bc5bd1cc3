"""A cache claim on a real API server: the claim, the Job and its controller are real; the pods are simulated."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.children import eventually
from e2e.cluster.provider import Cluster
from e2e.kubectl import Kubectl
from e2e.watch import condition, settled, until
from tests.integration.asking import SETTLE_SECONDS, deployment, settle
from tests.integration.granted import granted
from tests.integration.operator_process import OperatorProcess


MADE = {"persistentVolumeClaim": {"size": "1Gi"}}
RUNS_ON = {"annotations": {"simulated/runs-on": "true"}}
"""Of pods: simulated ones of a Job go on until a test ends them, instead of having succeeded at once."""
OTHER_WEIGHTS = {"source": {"huggingFace": {"repository": "me/mine"}}}
RETRY_SECONDS = 60
"""What was refused is tried again after 30 s."""


@pytest.fixture
def volume(installed: Cluster, user: Kubectl) -> Iterator[None]:
    """A volume for the claim `chat-cache` of the test's namespace, where pods are restricted."""
    user("label", "namespace", user.namespace, "pod-security.kubernetes.io/enforce=restricted")
    name = f"cache-{user.namespace}"
    user.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteMany"],
                "hostPath": {"path": "/simulated"},
                "claimRef": {"namespace": user.namespace, "name": "chat-cache"},
            },
        }
    )
    yield
    Kubectl(installed, "default")("delete", "persistentvolume", name, "--wait=false")


def jobs(user: Kubectl) -> list[str]:
    return [job["metadata"]["name"] for job in user.items("jobs")]


def fetching_pod(user: Kubectl) -> str:
    """Return the name of the pod that fetches, once it runs."""
    running = ("pods", "-l", "app.kubernetes.io/component=weights", "--field-selector=status.phase=Running")
    eventually(lambda: len(user.items(*running)) == 1, "a pod of the Job runs")
    name: str = user.items(*running)[0]["metadata"]["name"]
    return name


def end(user: Kubectl, pod: str, exit_code: int, message: str = "") -> None:
    """Let a simulated pod end as the kubelet would say it."""
    ended = {"exitCode": exit_code, "message": message, "reason": "Error" if exit_code else "Completed"}
    status = {
        "phase": "Failed" if exit_code else "Succeeded",
        "conditions": [{"type": "Ready", "status": "False"}, {"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [
            {
                "name": "fetch",
                "image": "server:1",
                "imageID": "",
                "ready": False,
                "restartCount": 0,
                "state": {"terminated": ended},
            }
        ],
    }
    user("patch", "pod", pod, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))


def give_up(user: Kubectl) -> None:
    """Let the Job's controller try no further, as after its last attempt."""
    (job,) = jobs(user)
    gives_up = {"type": "FailureTarget", "status": "True", "reason": "BackoffLimitExceeded", "message": "no more"}
    patch = json.dumps({"status": {"conditions": [gives_up]}})
    user("patch", "job", job, "--subresource=status", "--type=merge", "-p", patch)


def rolled_out(obj: dict[str, Any]) -> bool:
    return settled(obj) and obj["status"]["currentRevision"] == obj["status"]["revision"]


def look_again(user: Kubectl, operator: OperatorProcess) -> None:
    """Let the operator make passes until one writes nothing."""
    passes = operator.quiet_passes()

    def looked() -> bool:
        user("annotate", "gptoss", "chat", f"example.com/look={uuid.uuid4()}", "--overwrite")
        return operator.quiet_passes() > passes

    eventually(looked, "a pass that writes nothing")


def fetching(obj: dict[str, Any]) -> bool:
    return bool(condition(obj, "Progressing")["reason"] == "WeightsFetching")


def wait_for(user: Kubectl, wanted: str, status: str, reason: str) -> str:
    """Return the message of a condition as soon as it has this status and reason."""

    def reached(obj: dict[str, Any]) -> bool:
        found = condition(obj, wanted)
        return (found["status"], found["reason"]) == (status, reason)

    obj = until(user, "chat", reached, timeout_seconds=SETTLE_SECONDS, show=False)
    message: str = condition(obj, wanted)["message"]
    return message


@pytest.mark.usefixtures("volume")
def test_replicas_start_when_the_job_has_filled_the_claim_though_the_operator_was_away(
    installed: Cluster, user: Kubectl, tmp_path: Path
) -> None:
    """With the rights that the chart grants, in a namespace of restricted pods."""
    user.apply(deployment(replicas=2, cache=MADE, pod=RUNS_ON))
    with granted(installed, user.namespace, tmp_path) as kubeconfig:
        with OperatorProcess(installed, user.namespace, tmp_path / "1.log", kubeconfig=kubeconfig):
            pod = fetching_pod(user)
            until(user, "chat", fetching, timeout_seconds=SETTLE_SECONDS, show=False)
            assert user.items("statefulsets") == []
            claim = user.json("get", "persistentvolumeclaim", "chat-cache")
            assert claim["metadata"]["ownerReferences"][0]["name"] == "chat"
            (job,) = user.items("jobs")
        with OperatorProcess(installed, user.namespace, tmp_path / "2.log", kubeconfig=kubeconfig) as operator:
            look_again(user, operator)
            assert (job["metadata"]["uid"], pod) == (user.items("jobs")[0]["metadata"]["uid"], fetching_pod(user))
        end(user, pod, 0)
        eventually(lambda: bool(user.items("jobs")[0]["status"].get("succeeded")), "the Job controller has seen it")
        with OperatorProcess(installed, user.namespace, tmp_path / "3.log", kubeconfig=kubeconfig) as operator:
            assert settle(user)["status"]["ready"] == "2/2"
            assert wait_for(user, "ModelCached", "True", "WeightsCached") == (
                "hf://openai/gpt-oss-20b is in claim chat-cache"
            )
            replicas = {r["metadata"]["uid"]: r["metadata"]["generation"] for r in user.items("statefulsets")}

            user("delete", "job", "--all")
            look_again(user, operator)
            assert jobs(user) == []
            assert {r["metadata"]["uid"]: r["metadata"]["generation"] for r in user.items("statefulsets")} == replicas
    assert "Weights" in user("describe", "gptoss", "chat")
    for log in ("1.log", "2.log", "3.log"):
        text = (tmp_path / log).read_text()
        assert "forbidden" not in text.lower(), text
        assert "Traceback" not in text


@pytest.mark.usefixtures("volume", "running")
def test_a_revision_whose_weights_find_no_room_replaces_nothing_until_somebody_deletes_the_job(user: Kubectl) -> None:
    user.apply(deployment(replicas=1, cache=MADE, pod=RUNS_ON))
    end(user, fetching_pod(user), 0)
    settle(user)
    (runs,) = user.items("statefulsets")

    user("patch", "gptoss", "chat", "--type=merge", "-p", json.dumps({"spec": {"model": OTHER_WEIGHTS}}))
    words = "/cache/me--mine is full: make the volume larger"
    end(user, fetching_pod(user), 70, words)
    give_up(user)
    message = wait_for(user, "Stalled", "True", "RolledBack")
    (failed,) = jobs(user)
    assert words in message
    assert f"delete Job {failed}" in message
    status = user.json("get", "gptoss", "chat")["status"]
    assert (status["refusedRevision"]["reason"], status["ready"]) == ("WeightsFetchFailed", "1/1")
    (still,) = user.items("statefulsets")
    assert still["metadata"]["uid"] == runs["metadata"]["uid"], "what runs is left alone"

    user("delete", "job", failed)
    pod = fetching_pod(user)
    eventually(lambda: len(user.items("pods", "-l", "batch.kubernetes.io/job-name")) == 1, "its pods went with it")
    end(user, pod, 0)
    eventually(lambda: rolled_out(user.json("get", "gptoss", "chat")), "replicas have the new weights")
    assert condition(user.json("get", "gptoss", "chat"), "ModelCached")["status"] == "True"
    (now,) = user.items("statefulsets")
    assert now["metadata"]["uid"] != runs["metadata"]["uid"]


@pytest.mark.usefixtures("volume", "running")
def test_a_claim_that_cannot_be_changed_so_is_said_to_be_and_replicas_go_on(user: Kubectl) -> None:
    user.apply(deployment(replicas=1, cache=MADE, pod=RUNS_ON))
    end(user, fetching_pod(user), 0)
    settle(user)

    change = {"persistentVolumeClaim": {"accessMode": "ReadWriteOnce"}}
    user("patch", "gptoss", "chat", "--type=merge", "-p", json.dumps({"spec": {"cache": change}}))
    message = wait_for(user, "Accepted", "False", "RefusedByCluster")
    assert "chat-cache" in message
    assert "immutable" in message
    assert user.json("get", "gptoss", "chat")["status"]["ready"] == "1/1"

    back = {"persistentVolumeClaim": {"accessMode": None}}
    user("patch", "gptoss", "chat", "--type=merge", "-p", json.dumps({"spec": {"cache": back}}))
    eventually(lambda: settled(user.json("get", "gptoss", "chat")), "it goes on", seconds=RETRY_SECONDS)
    assert condition(user.json("get", "gptoss", "chat"), "Accepted")["status"] == "True"


@pytest.mark.usefixtures("volume", "running")
def test_a_cache_that_is_not_wanted_any_more_is_removed_when_no_replica_uses_it(user: Kubectl) -> None:
    user.apply(deployment(replicas=1, cache=MADE, pod=RUNS_ON))
    end(user, fetching_pod(user), 0)
    settle(user)
    user("patch", "gptoss", "chat", "--type=json", "-p", '[{"op": "remove", "path": "/spec/cache"}]')
    eventually(lambda: user.items("persistentvolumeclaims,jobs") == [], "claim and Job are gone")
    assert settle(user)["status"]["ready"] == "1/1"
