"""What replicas say of themselves: their `/state` documents, read through the API server as any administrator can."""

import time

from e2e.kubectl import Kubectl
from gptoss_runtime.contract import HEALTH_PORT, ReplicaState
from gptoss_runtime.exposition import read_samples, total


COUNTED_SECONDS = 15
FINISHED = "vllm:request_success_total"


def state_of(kubectl: Kubectl, pod: str) -> ReplicaState:
    """Return the state document of a replica's pod."""
    return ReplicaState.decode(kubectl.raw(_path(kubectl, pod, "state")))


def replica_pods(kubectl: Kubectl, deployment: str) -> list[str]:
    """Return the names of the replicas' pods."""
    selector = f"gptoss.dev/deployment={deployment},app.kubernetes.io/component=replica"
    return sorted(pod["metadata"]["name"] for pod in kubectl.items("pods", "-l", selector))


def answered(kubectl: Kubectl, deployment: str) -> dict[str, int]:
    """Return how many requests each replica has answered since it started, as its vLLM counts them."""
    return {pod: int(metric(kubectl, pod, FINISHED)) for pod in replica_pods(kubectl, deployment)}


def metric(kubectl: Kubectl, pod: str, name: str) -> float:
    """Return one of vLLM's metrics at this moment, over all its series; the state document is up to two seconds old."""
    return total(read_samples(kubectl.raw(_path(kubectl, pod, "metrics")), {name}), name) or 0.0


def _path(kubectl: Kubectl, pod: str, page: str) -> str:
    return f"/api/v1/namespaces/{kubectl.namespace}/pods/{pod}:{HEALTH_PORT}/proxy/{page}"


def answered_since(kubectl: Kubectl, deployment: str, before: dict[str, int], expected: int) -> dict[str, int]:
    """Return how many requests each replica has answered since `before`.

    vLLM counts a request a moment after its answer, so this looks again until all `expected` are counted, or for
    `COUNTED_SECONDS`.
    """
    deadline = time.monotonic() + COUNTED_SECONDS
    while True:
        counts = {pod: total - before.get(pod, 0) for pod, total in answered(kubectl, deployment).items()}
        if sum(counts.values()) >= expected or time.monotonic() > deadline:
            return counts
