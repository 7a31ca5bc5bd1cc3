"""The kubelet's configuration and start."""

import resource
from typing import Any

import yaml

from e2e.cluster.local.containerd import beside
from e2e.cluster.local.controlplane import Launcher
from e2e.cluster.local.netns import NODE_ADDRESS
from e2e.cluster.local.places import Places
from e2e.cluster.local.processes import Process
from e2e.cluster.provider import SIMULATED_GPU_LABEL


def start_kubelet(launcher: Launcher, containerd: Process) -> Process:
    """Start the kubelet where containerd sees the volumes that it mounts."""
    places = launcher.places
    config = places.run / "kubelet.yaml"
    _, open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    config.write_text(yaml.safe_dump(render_config(places, open_files), sort_keys=False))
    return launcher.start(
        "kubelet",
        f"--config={config}",
        f"--kubeconfig={places.certs}/kubelet.kubeconfig",
        f"--hostname-override={places.node}",
        f"--node-ip={NODE_ADDRESS}",
        f"--node-labels={SIMULATED_GPU_LABEL}=true",
        before=beside(containerd),
    )


def render_config(places: Places, open_files: int) -> dict[str, Any]:
    """Return the kubelet's configuration.

    It fits a machine that is also used for other things: no share of it is reserved, swap may be on, images are never
    removed (nothing could pull them again), and cgroups are used as the machine has them, version 1 included.
    """
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{places.certs}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{places.certs}/kubelet.crt",
        "tlsPrivateKeyFile": f"{places.certs}/kubelet.key",
        "containerRuntimeEndpoint": f"unix://{places.containerd_socket}",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "clusterDomain": "cluster.local",
        "clusterDNS": [NODE_ADDRESS],
        "resolvConf": "",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{places.cgroup}",
        "failCgroupV1": False,
        "enforceNodeAllocatable": ["none"],
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        "makeIPTablesUtilChains": False,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "maxOpenFiles": open_files,
        "maxPods": 110,
        "oomScoreAdj": 0,
        "nodeStatusUpdateFrequency": "1s",
        "nodeStatusReportFrequency": "1m",
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
    }
