"""Replicas follow the load, with real ones: from none and back to none, and through a notice, with no request lost.

One story, since each start of a replica takes more than a minute.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.children import eventually
from e2e.kubectl import Kubectl
from e2e.scenarios.conftest import ENGINE, MODEL, NAMESPACE, START_SECONDS, Load, deployment
from e2e.scenarios.pods import Background, uids
from e2e.stack import OPERATOR_NAMESPACE, RELEASE, Stack
from e2e.watch import condition, settled, until


NAME = "elastic"
URL = f"http://{NAME}.{NAMESPACE}.svc.cluster.local:8000/v1"
REPLICAS = f"gptoss.dev/deployment={NAME},app.kubernetes.io/component=replica"
AT_ONCE = 2
"""Requests that each replica runs at once."""
STREAMS = 8
"""More than two replicas take: some wait in the queue all the time."""
TOKENS = 60
STOP = "/tmp/stop-elastic"  # noqa: S108 - in the client's pod, which nobody else is in
WAKE_SECONDS = 30
"""Until a replica is asked for, and not until it is there."""
IDLE_SECONDS = 15
METADATA = (Path(__file__).parent / "metadata_program.py").read_text()
METADATA_NAMESPACE = "metadata"
DOOMED = "/tmp/doomed"  # noqa: S108 - in the metadata service's pod, which nobody else is in


@pytest.fixture
def metadata(stack: Stack) -> Iterator[Kubectl]:
    """The machines' metadata service, in the pod `service`."""
    kubectl = stack.kubectl(METADATA_NAMESPACE)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": METADATA_NAMESPACE}}
    kubectl.apply(namespace, metadata_service(stack.images.operator))
    kubectl("wait", "pod/service", "--for=condition=Ready", "--timeout=60s")
    yield kubectl
    kubectl("delete", "namespace", METADATA_NAMESPACE, "--wait=false")


def metadata_service(image: str) -> dict[str, Any]:
    """Return the pod that plays it. It may change the node's addresses, since a real one is no pod."""
    allowed = {"runAsUser": 0, "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_BIND_SERVICE"]}}
    container = {
        "name": "service",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", METADATA, DOOMED],
        "securityContext": allowed,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "service"},
        "spec": {"hostNetwork": True, "terminationGracePeriodSeconds": 0, "containers": [container]},
    }


@pytest.fixture
def elastic(stack: Stack, user: Kubectl) -> Iterator[Kubectl]:
    """A deployment that follows its load, between no replica and two."""
    stack.kubectl(OPERATOR_NAMESPACE)("scale", f"deployment/{RELEASE}", "--replicas=1")
    user.apply(
        deployment(
            NAME,
            engine={**ENGINE, "maxNumSeqs": AT_ONCE},
            scaling={
                "minReplicas": 0,
                "maxReplicas": 2,
                "target": {"queueDepth": 1},
                "down": {"stabilizationSeconds": 0, "periodSeconds": 5},
                "idleSeconds": IDLE_SECONDS,
            },
            interruption={"cloud": "AWS"},
        )
    )
    until(user, NAME, at_rest, timeout_seconds=120, show=False)
    yield user
    user("delete", "gptoss", NAME, "--timeout=60s")


def at_rest(obj: dict[str, Any]) -> bool:
    """Whether there is no replica, and none is wanted."""
    status = obj.get("status", {})
    return (
        condition(obj, "Available")["reason"] == "ScaledToZero"
        and (status.get("replicas"), status.get("desiredReplicas")) == (0, 0)
        and status.get("readyGateways", 0) > 0
    )


def has_ready(replicas: int) -> Any:  # noqa: ANN401 - a predicate of raw objects
    return lambda obj: obj["status"].get("readyReplicas") == replicas and settled(obj)


@pytest.mark.timeout(1200)
def test_replicas_follow_the_queue_from_none_and_back_and_through_a_notice(
    elastic: Kubectl, metadata: Kubectl, load: Load
) -> None:
    elastic("exec", "client", "--", "rm", "-f", STOP)
    streams = Background(load, "streams", URL, MODEL, STREAMS, TOKENS, STOP)
    try:
        until(elastic, NAME, lambda obj: obj["status"]["replicas"] > 0, timeout_seconds=WAKE_SECONDS, show=False)
        until(elastic, NAME, has_ready(2), timeout_seconds=START_SECONDS, show=False)
        a_notice_comes(elastic, metadata)
    finally:
        elastic("exec", "client", "--", "touch", STOP)
    result = streams.wait()
    assert set(result["finished"]) == {"length"}, "none was lost: neither held, nor queued, nor running"
    assert len(result["finished"]) > STREAMS
    assert result["commented"] >= STREAMS, "the first ones were held"

    obj = until(elastic, NAME, at_rest, timeout_seconds=START_SECONDS, show=False)
    eventually(lambda: not elastic.items("pods", "-l", REPLICAS), "all replicas are gone", seconds=240)
    decisions = [(each["previous"], each["replicas"]) for each in obj["status"]["decisions"]]
    assert (decisions[0][1], decisions[-1][0]) == (0, 0)
    assert max(replicas for _, replicas in decisions) == 2


def a_notice_comes(kubectl: Kubectl, metadata: Kubectl) -> None:
    """The machine of one of two replicas is to go: it finishes its requests, and another one is started at once."""
    before = uids(kubectl, REPLICAS)
    doomed, stays = sorted(before)
    address = kubectl.json("get", "pod", doomed)["status"]["podIP"]
    metadata("exec", "service", "--", "touch", f"{DOOMED}/{address}")

    eventually(lambda: is_replaced(kubectl, doomed, before), "it leaves, and another one starts", seconds=60)
    assert uids(kubectl, REPLICAS)[stays] == before[stays]


def is_replaced(kubectl: Kubectl, doomed: str, before: dict[str, str]) -> bool:
    """Whether the doomed pod is leaving and there is a new one, ready or not."""
    now = uids(kubectl, REPLICAS)
    return before[doomed] not in now.values() and len(set(now.values()) - set(before.values())) == 1
