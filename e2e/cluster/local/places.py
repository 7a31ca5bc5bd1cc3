"""Where a local cluster keeps things."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.errors import ClusterError


RUN_ROOT = Path("/run/gptoss-cluster")
"""One directory for each cluster: sockets, certificates, configuration, logs; gone when the machine ends."""
DATA_ROOT = Path("/var/lib/gptoss-cluster")
"""One directory for each cluster: etcd's data, the kubelet's volumes: they may be too large for a /run in memory."""

GIBIBYTE = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The directories and files of one cluster. They follow from its name alone, so that any process can clean up."""

    name: str

    @property
    def run(self) -> Path:
        """Small things; gone after `down`."""
        return RUN_ROOT / self.name

    @property
    def data(self) -> Path:
        """Large things; gone after `down`."""
        return DATA_ROOT / self.name

    @property
    def lock(self) -> Path:
        """Held by whoever starts or ends the cluster."""
        return RUN_ROOT / f"{self.name}.lock"

    @property
    def record(self) -> Path:
        """Written when the cluster is complete."""
        return self.run / "cluster.json"

    @property
    def network(self) -> Path:
        """The network namespace, kept by a mount on this file."""
        return self.run / "net"

    @property
    def certs(self) -> Path:
        """Certificates, keys and kubeconfigs of the cluster's own parts."""
        return self.run / "pki"

    @property
    def logs(self) -> Path:
        """One file for each process, named for its role."""
        return self.run / "log"

    @property
    def audit_log(self) -> Path:
        """What the API server was asked to change about pods: one JSON document on each line."""
        return self.logs / "audit.jsonl"

    @property
    def logs_of_failure(self) -> Path:
        """Where the logs of a start that failed stay until the next start or end."""
        return RUN_ROOT / f"{self.name}.failed-log"

    @property
    def bin(self) -> Path:
        """Links to the programs that fit this cluster."""
        return self.run / "bin"

    @property
    def kubeconfig(self) -> Path:
        """For the ordinary shell."""
        return self.run / "kubeconfig"

    @property
    def inner_kubeconfig(self) -> Path:
        """For programs in the cluster's network."""
        return self.run / "kubeconfig.inner"

    @property
    def containerd_socket(self) -> Path:
        """Where containerd listens."""
        return self.run / "containerd.sock"

    @property
    def kubelet(self) -> Path:
        """What the kubelet, in a mount namespace of its own, sees as /var/lib/kubelet."""
        return self.data / "kubelet"

    @property
    def device_plugins(self) -> Path:
        """Where device plugins and the kubelet meet."""
        return self.kubelet / "device-plugins"

    @property
    def gpu_health(self) -> Path:
        """The simulated GPUs that are to be unhealthy, one on each line."""
        return self.run / "gpus-unhealthy"

    @property
    def cgroup(self) -> str:
        """The cgroup, in every hierarchy, below which all pods run."""
        return f"gptoss-{self.name}"

    @property
    def node(self) -> str:
        """Name of the real node."""
        return f"{self.name}-node"


def cache_root() -> Path:
    """Return the directory for what is kept between clusters: programs, the Go toolchain, images."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gptoss-operator"


def require_free_space(path: Path, gibibytes: float, what: str) -> None:
    """Raise `ClusterError` unless the file system of `path` has room for `what`."""
    path.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path).free / GIBIBYTE
    if free < gibibytes:
        raise ClusterError(
            f"{what} needs {gibibytes:.0f} GiB below {path}, where {free:.1f} GiB are free; "
            f"make room for {gibibytes - free:.1f} GiB more, or set XDG_CACHE_HOME to a larger disk"
        )
