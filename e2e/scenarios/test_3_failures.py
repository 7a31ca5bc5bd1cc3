"""What cannot start says why, in the object's conditions, and disturbs nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.kubectl import Kubectl
from e2e.scenarios.conftest import deployment
from e2e.scenarios.pods import uids
from e2e.stack import CLAIM
from e2e.watch import condition, until


SOON_SECONDS = 30
"""The bound that users are promised."""

FAILURES: dict[str, tuple[dict[str, Any], str, str]] = {
    "no such directory in the claim": (
        {"model": {"source": {"persistentVolumeClaim": {"claimName": CLAIM, "path": "missing"}}}},
        "ServerRefusedOrders",
        "/models/missing",
    ),
    "no such image": ({"image": "localhost/nothing:1"}, "ImagePullFailed", "localhost/nothing:1"),
    "no such claim": (
        {"model": {"source": {"persistentVolumeClaim": {"claimName": "missing"}}}},
        "VolumeNotFound",
        "spec.model.source",
    ),
    "no such Secret": (
        {"pod": {"env": [{"name": "TOKEN", "secretKeyRef": {"name": "missing", "key": "token"}}]}},
        "ContainerConfigError",
        "missing",
    ),
    "a directory of the node under restricted": (
        {"model": {"source": {"hostPath": {"path": "/srv/models"}}}},
        "PodNotCreated",
        "kubectl describe statefulset",
    ),
    "an argument that vLLM does not have": (
        {"engine": {"extraArgs": ["--no-such-argument"]}},
        "ServerStartFailed",
        "--no-such-argument",
    ),
}


@pytest.fixture
def broken(chat: Kubectl) -> Iterator[Kubectl]:
    yield chat
    chat("delete", "gptoss", "broken", "--ignore-not-found", "--timeout=30s")


@pytest.mark.parametrize("name", FAILURES)
def test_it_is_said_soon_and_nothing_else_is_disturbed(broken: Kubectl, name: str) -> None:
    spec, reason, words = FAILURES[name]
    before = uids(broken, "gptoss.dev/deployment=chat")
    broken.apply(deployment("broken", **spec))
    # vLLM takes its time to look at its arguments: imports alone are half a minute on two cores.
    seconds = SOON_SECONDS if reason != "ServerStartFailed" else 4 * SOON_SECONDS
    obj = until(
        broken, "broken", lambda o: condition(o, "Degraded")["reason"] == reason, timeout_seconds=seconds, show=False
    )
    assert words in condition(obj, "Degraded")["message"]
    assert condition(obj, "Available")["status"] == "False"
    assert uids(broken, "gptoss.dev/deployment=chat") == before


def test_more_gpus_than_there_are_is_said(broken: Kubectl) -> None:
    broken.apply(deployment("broken", replicas=2, tensorParallel=8))
    obj = until(
        broken,
        "broken",
        lambda o: condition(o, "Progressing")["reason"] == "InsufficientGPU",
        timeout_seconds=SOON_SECONDS,
        show=False,
    )
    assert "lower tensorParallel" in condition(obj, "Progressing")["message"]
