"""Make simulated GPUs unhealthy and healthy again, as a broken GPU would be seen by Kubernetes."""

import json

from e2e.cluster.commands import run
from e2e.cluster.errors import ClusterError
from e2e.cluster.local.gpu_plugin import gpu_names
from e2e.cluster.local.node import GPUS
from e2e.cluster.local.places import Places
from e2e.cluster.local.processes import wait_until
from e2e.cluster.provider import GPU_RESOURCE, Cluster, Tier


TOLD_SECONDS = 30
"""The plugin looks each second, and the kubelet tells the API server within another few."""


def list_gpus(cluster: Cluster) -> dict[str, bool]:
    """Return the simulated GPUs of the cluster's node and whether they are healthy.

    Raises `ClusterError` when the cluster has no such node.
    """
    if cluster.provider != "local" or cluster.tier is not Tier.NODE:
        raise ClusterError(f"cluster {cluster.name} has no simulated GPUs that can be changed: it needs --tier node")
    file = Places(name=cluster.name).gpu_health
    unhealthy = set(file.read_text().split()) if file.exists() else set()
    return {name: name not in unhealthy for name in gpu_names(GPUS)}


def set_health(cluster: Cluster, *names: str, healthy: bool) -> None:
    """Change GPUs and return when the node says so.

    Raises `ClusterError` when there is no such GPU, or when the node does not follow within 30 s.
    """
    gpus = list_gpus(cluster)
    if unknown := [name for name in names if name not in gpus]:
        raise ClusterError(f"there is no simulated GPU {unknown[0]!r}; there are {', '.join(gpus)}")
    gpus |= dict.fromkeys(names, healthy)
    file = Places(name=cluster.name).gpu_health
    draft = file.with_suffix(".draft")
    draft.write_text("".join(f"{name}\n" for name, good in gpus.items() if not good))
    draft.replace(file)
    wanted = str(sum(gpus.values()))
    wait_until(
        lambda: allocatable(cluster) == wanted,
        what=f"node {Places(name=cluster.name).node} to offer {wanted} simulated GPUs",
        timeout_seconds=TOLD_SECONDS,
    )


def allocatable(cluster: Cluster) -> str:
    """Return how many GPUs the node offers to pods."""
    node = run([*cluster.kubectl(), "get", "node", Places(name=cluster.name).node, "--output=json"], timeout_seconds=30)
    return str(json.loads(node)["status"]["allocatable"].get(GPU_RESOURCE, "0"))
