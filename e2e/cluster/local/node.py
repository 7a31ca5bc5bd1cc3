"""The node tier's one real node: containerd, kubelet, Services, names, simulated GPUs."""

import sys
from pathlib import Path
from typing import Any

from e2e.cluster.commands import run
from e2e.cluster.errors import ClusterError
from e2e.cluster.local.api import get_object, is_ready
from e2e.cluster.local.cgroups import make_cgroups
from e2e.cluster.local.containerd import start_containerd
from e2e.cluster.local.controlplane import Launcher
from e2e.cluster.local.kubelet import start_kubelet
from e2e.cluster.local.netns import NODE_ADDRESS, POD_RANGE, enter
from e2e.cluster.local.processes import Process, wait_until
from e2e.cluster.provider import GPU_RESOURCE
from e2e.progress import step


READY_SECONDS = 120
GPUS = 8
NAME_SECONDS = 5
"""How long a name's answer is kept, by CoreDNS and by who asks it."""
CHECKOUT = Path(__file__).parents[3]


def start_node(launcher: Launcher) -> tuple[str, ...]:
    """Start the node and return containerd's client when the node is ready and its Services and names work."""
    places = launcher.places
    with step("containerd"):
        make_cgroups(places.cgroup)
        containerd, ctr = start_containerd(launcher)
    with step("kubelet, Services, names, simulated GPUs"):
        launcher.kubectl("apply", "--server-side", f"--filename={Path(__file__).with_name('dns.yaml')}")
        alive = [
            containerd,
            start_kubelet(launcher, containerd),
            start_gpu_plugin(launcher),
            start_proxy(launcher),
            start_names(launcher),
        ]
        wait_until(
            lambda: takes_pods(get_object(places, f"/api/v1/nodes/{places.node}")),
            what=f"node {places.node}",
            timeout_seconds=READY_SECONDS,
            alive=alive,
        )
        wait_until(lambda: names_work(launcher), what="names (CoreDNS)", timeout_seconds=READY_SECONDS, alive=alive)
    return tuple(ctr)


def start_gpu_plugin(launcher: Launcher) -> Process:
    """Start the program that tells the kubelet of GPUs which are not there."""
    places = launcher.places
    words = [f"--directory={places.device_plugins}", f"--unhealthy={places.gpu_health}", f"--count={GPUS}"]
    return launcher.start_other(
        "gpu-plugin",
        [sys.executable, "-m", "e2e.cluster.local.gpu_plugin", *words],
        environment={"PYTHONPATH": str(CHECKOUT)},
    )


def start_proxy(launcher: Launcher) -> Process:
    """Start kube-proxy, which leaves the connection table's limits as the machine has them."""
    return launcher.start(
        "kube-proxy",
        f"--kubeconfig={launcher.places.certs}/kube-proxy.kubeconfig",
        "--proxy-mode=nftables",
        f"--cluster-cidr={POD_RANGE}",
        f"--hostname-override={launcher.places.node}",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0s",
        "--conntrack-tcp-timeout-close-wait=0s",
    )


def start_names(launcher: Launcher) -> Process:
    """Start CoreDNS on the node's address."""
    places = launcher.places
    config = places.run / "Corefile"
    config.write_text(
        f"""
.:53 {{
  bind {NODE_ADDRESS}
  errors
  ready 127.0.0.1:8181
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {places.certs}/coredns.kubeconfig
    ttl {NAME_SECONDS}
  }}
  cache {NAME_SECONDS}
}}
"""
    )
    return launcher.start("coredns", f"-conf={config}")


def takes_pods(node: dict[str, Any] | None) -> bool:
    """Whether a node object says that it is ready and has all its GPUs."""
    if node is None or not is_ready(node):
        return False
    return bool(node["status"].get("allocatable", {}).get(GPU_RESOURCE) == str(GPUS))


def names_work(launcher: Launcher) -> bool:
    """Whether CoreDNS has read the cluster's Services."""
    ask = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8181/ready', timeout=5)"
    try:
        run([*enter(launcher.places.network), sys.executable, "-I", "-c", ask], timeout_seconds=20)
    except ClusterError:
        return False
    return True
