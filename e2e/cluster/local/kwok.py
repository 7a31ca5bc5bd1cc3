"""Simulated nodes and pods of the API tier, played by KWOK."""

from pathlib import Path
from typing import Any

import yaml

from e2e.cluster.local.api import get_object, is_ready
from e2e.cluster.local.controlplane import Launcher
from e2e.cluster.local.netns import SIMULATED_POD_RANGE
from e2e.cluster.local.processes import Process, wait_until
from e2e.cluster.provider import GPU_RESOURCE, SIMULATED_GPU_LABEL
from e2e.progress import step


STAGES = Path(__file__).with_name("stages.yaml")
NODE_ANNOTATION = ("kwok.x-k8s.io/node", "fake")
"""KWOK plays only the nodes with this annotation, and only their pods. Karpenter's simulated cloud sets it too."""
FIRST_NODE = "simulated-gpu-1"
"""The node that every cluster of the API tier begins with."""


def gpu_node(
    name: str,
    *,
    zone: str = "zone-a",
    capacity_type: str = "on-demand",
    gpus: int = 8,
    product: str = "NVIDIA-H100-80GB-HBM3",
) -> dict[str, Any]:
    """Return the manifest of a node with simulated GPUs; apply it, and pods can run there.

    `capacity_type` is `on-demand` or `spot`, under the label that Karpenter uses.
    """
    resources = {"cpu": "192", "memory": "2Ti", "pods": "110", "ephemeral-storage": "4Ti", GPU_RESOURCE: str(gpus)}
    labels = {
        SIMULATED_GPU_LABEL: "true",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": zone,
        "karpenter.sh/capacity-type": capacity_type,
        "nvidia.com/gpu.product": product,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": dict([NODE_ANNOTATION])},
        "status": {"capacity": resources, "allocatable": resources},
    }


def start_kwok(launcher: Launcher) -> Process:
    """Start KWOK and return it when the first simulated node is ready."""
    with step("simulated nodes (KWOK)"):
        process = launcher.start(
            "kwok",
            f"--kubeconfig={launcher.places.inner_kubeconfig}",
            f"--config={STAGES}",
            f"--manage-nodes-with-annotation-selector={'='.join(NODE_ANNOTATION)}",
            f"--cidr={SIMULATED_POD_RANGE}",
            "--node-ip=127.0.0.1",
            # Renewed every quarter of it. The node controller takes a node for lost after 50 s without.
            "--node-lease-duration-seconds=40",
            "--server-address=127.0.0.1:10247",
        )
        launcher.kubectl("apply", "--server-side", "--filename=-", given=yaml.safe_dump(gpu_node(FIRST_NODE)))
        wait_until(
            lambda: is_ready(get_object(launcher.places, f"/api/v1/nodes/{FIRST_NODE}") or {}),
            what=f"the simulated node {FIRST_NODE}",
            timeout_seconds=60,
            alive=[process],
        )
    return process
