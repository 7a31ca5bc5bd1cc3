"""The provider `kind`: a cluster in a Docker container.

Written by kind's documentation, and not tried yet: no machine at hand had a Docker engine.

It gives the node tier. The API tier plays thousands of pods with invented addresses, which must not meet the machine's
own network, so it is the provider `local`'s alone.
"""

import json
import shutil
from pathlib import Path

from e2e.cluster.commands import run
from e2e.cluster.errors import ClusterError
from e2e.cluster.local.binaries import ensure_binaries
from e2e.cluster.local.modules import FOR_KIND
from e2e.cluster.local.places import cache_root
from e2e.cluster.provider import GPU_RESOURCE, SIMULATED_GPU_LABEL, Cluster, Tier, checked_name
from e2e.progress import step


CREATE_SECONDS = 600
SIMULATED_GPUS = 8


class KindProvider:
    """Clusters made by `kind`, which is built with kubectl and Helm from published Go modules. Docker must run."""

    def up(self, name: str, tier: Tier) -> Cluster:
        """Return the cluster, started now or found running."""
        if tier is not Tier.NODE:
            raise ClusterError("kind has no API tier: run it as root with --provider local")
        running = self.find(name)
        if running is not None:
            return running
        self.down(name)
        cluster = describe(name)
        with step(f"kind cluster {name}"):
            create = ["create", "cluster", "--name", name, "--kubeconfig", cluster.kubeconfig, "--wait", "5m"]
            run([*kind_command(), *create, "--config", "-"], timeout_seconds=CREATE_SECONDS, given=configuration())
        with step("simulated GPUs"):
            simulate_gpus(cluster)
        return cluster

    def down(self, name: str) -> None:
        """End the cluster; no cluster is no error."""
        run([*kind_command(), "delete", "cluster", "--name", checked_name(name)], timeout_seconds=CREATE_SECONDS)
        shutil.rmtree(home(name), ignore_errors=True)

    def find(self, name: str) -> Cluster | None:
        """Return the cluster if it is up and answers."""
        if name not in run([*kind_command(), "get", "clusters"], timeout_seconds=60).split():
            return None
        cluster = describe(name)
        try:
            run([*cluster.kubectl(), "get", "--raw=/readyz"], timeout_seconds=30)
        except ClusterError:
            return None
        return cluster


def kind_command() -> list[str]:
    """Return `kind`, built when it is needed for the first time."""
    return [str(ensure_binaries(["kind"])["kind"])]


def configuration() -> str:
    """Return what the node sees of this machine: the cache, in its own place, so that volumes can hold its models."""
    mounts = [{"hostPath": str(cache_root()), "containerPath": str(cache_root()), "readOnly": True}]
    return json.dumps(
        {
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "kind": "Cluster",
            "nodes": [{"role": "control-plane", "extraMounts": mounts}],
        }
    )


def home(name: str) -> Path:
    """Return the directory of what we keep about a cluster."""
    return cache_root() / "kind" / checked_name(name)


def describe(name: str) -> Cluster:
    """Return the cluster of that name; containerd is the one inside the node's container."""
    directory = home(name)
    programs = directory / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    for program, path in ensure_binaries(FOR_KIND).items():
        if not (programs / program).exists():
            (programs / program).unlink(missing_ok=True)  # a link to a program that is no longer in the cache
            (programs / program).symlink_to(path)
    kubeconfig = str(directory / "kubeconfig")
    return Cluster(
        name=name,
        provider="kind",
        tier=Tier.NODE,
        kubeconfig=kubeconfig,
        inner_kubeconfig=kubeconfig,
        bin_dir=str(programs),
        network=None,
        ctr=("docker", "exec", "--interactive", f"{name}-control-plane", "ctr", "--namespace=k8s.io"),
    )


def simulate_gpus(cluster: Cluster) -> None:
    """Give the node a capacity of GPUs by a patch; the kubelet keeps resources that no plugin of its own manages."""
    node = f"{cluster.name}-control-plane"
    patch = [{"op": "add", "path": "/status/capacity/" + GPU_RESOURCE.replace("/", "~1"), "value": str(SIMULATED_GPUS)}]
    words = ["patch", "node", node, "--subresource=status", "--type=json", f"--patch={json.dumps(patch)}"]
    run([*cluster.kubectl(), *words], timeout_seconds=30)
    run([*cluster.kubectl(), "label", "node", node, f"{SIMULATED_GPU_LABEL}=true", "--overwrite"], timeout_seconds=30)
