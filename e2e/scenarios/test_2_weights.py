"""Weights that are fetched from a hub: into a claim by one Job, or by the replica itself. The hub is simulated."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e import stack as stacks
from e2e.kubectl import Kubectl
from e2e.pods import USER_ID, waiting_pod
from e2e.replicas import replica_pods, state_of
from e2e.scenarios.conftest import START_SECONDS, deployment
from e2e.stack import Stack
from e2e.volumes import directory_claim
from e2e.watch import condition, settled, until
from gptoss_runtime.contract import Phase


PROGRAM = (Path(__file__).parent / "hub_program.py").read_text()
HUB = {"huggingFace": {"repository": "acme/tiny", "endpoint": "http://hub:8080"}}
CACHE = "weights-cache"


@pytest.fixture(scope="module")
def hub(stack: Stack, user: Kubectl) -> Iterator[Kubectl]:
    """A hub in the cluster that has the tiny model."""
    pod = waiting_pod("hub", stack.images.operator)
    pod["metadata"]["labels"] = {"app": "hub"}
    container = pod["spec"]["containers"][0]
    container["command"] = ["python3", "-c", PROGRAM, "/model"]
    container["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    container["volumeMounts"] = [{"name": "model", "mountPath": "/model", "readOnly": True}]
    pod["spec"]["volumes"] = [{"name": "model", "persistentVolumeClaim": {"claimName": stacks.CLAIM}}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "hub"},
        "spec": {"selector": {"app": "hub"}, "ports": [{"port": 8080}]},
    }
    user.apply(service, pod)
    user("wait", "pod/hub", "--for=condition=Ready", "--timeout=60s")
    yield user
    user("delete", "pod/hub", "service/hub", "--ignore-not-found", "--timeout=60s")


@pytest.fixture
def cache(hub: Kubectl, tmp_path: Path) -> Path:
    """A directory of the node, writable for replicas, and the claim that takes it."""
    tmp_path.chmod(0o755)
    directory = tmp_path / "cache"
    directory.mkdir()
    os.chown(directory, USER_ID, USER_ID)
    hub.apply(*directory_claim(hub.namespace, CACHE, directory, writable=True))
    return directory


def fetched(name: str, **spec: Any) -> dict[str, Any]:  # noqa: ANN401 - a raw object
    return deployment(name, model={"name": "gpt-oss-20b", "source": HUB}, replicas=1, **spec)


def jobs(kubectl: Kubectl) -> list[str]:
    return [job["metadata"]["name"] for job in kubectl.items("jobs", "-l", "gptoss.dev/deployment=cached")]


def test_without_a_cache_the_replica_fetches_by_itself(hub: Kubectl) -> None:
    hub.apply(fetched("own"))
    until(hub, "own", settled, timeout_seconds=START_SECONDS)
    (pod,) = replica_pods(hub, "own")
    assert state_of(hub, pod).startup[Phase.FETCHING] > 0
    hub("delete", "gptoss", "own", "--timeout=60s")


def test_a_job_fills_the_claim_once_and_replicas_start_without_the_hub(hub: Kubectl, cache: Path) -> None:
    hub.apply(fetched("cached", cache={"persistentVolumeClaim": {"claimName": CACHE}}))
    obj = until(hub, "cached", settled, timeout_seconds=START_SECONDS)
    assert condition(obj, "ModelCached")["status"] == "True"
    (job,) = jobs(hub)
    (weights,) = (path for path in (cache / "weights").iterdir() if path.is_dir())
    names = {path.name for path in weights.iterdir()}
    assert {"config.json", "model.safetensors", ".gptoss-weights.json"} <= names
    assert not {"README.md", "original", "metal"} & names

    hub("delete", "pod/hub", "--timeout=60s")
    hub("delete", f"job/{job}", "--timeout=60s")
    (pod,) = replica_pods(hub, "cached")
    before = state_of(hub, pod).start_id
    hub("delete", f"pod/{pod}", "--timeout=240s")
    until(hub, "cached", lambda obj: not settled(obj), timeout_seconds=60)
    hub(
        "wait", f"pod/{pod}", "--for=condition=Ready", f"--timeout={START_SECONDS}s", timeout_seconds=START_SECONDS + 30
    )
    state = state_of(hub, pod)
    assert state.start_id != before
    assert Phase.FETCHING not in state.startup
    assert jobs(hub) == []
    hub("delete", "gptoss", "cached", "--timeout=60s")
