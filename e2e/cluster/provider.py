"""What a running cluster offers to the tests, the demo and the benchmarks, whoever provides it."""

import json
import os
import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, Self

from e2e.cluster.errors import ClusterError


DEFAULT_NAME = "gptoss"
"""The cluster that a person gets who names none."""

NAME = re.compile(r"[a-z]([-a-z0-9]{0,28}[a-z0-9])?")
"""A name becomes part of a node's name, of cgroups and of paths of Unix sockets, which may have 107 bytes."""

SIMULATED_GPU_LABEL = "gptoss.dev/simulated-gpu"
"""Label of every node whose GPUs are invented; its value is "true"."""
GPU_RESOURCE = "nvidia.com/gpu"


class Tier(StrEnum):
    """How much of a cluster is needed."""

    API = "api"
    """API server and controllers; pods become ready by simulation (KWOK) and no container runs."""
    NODE = "node"
    """As `API`, but with one real node instead of simulated ones: kubelet, containers, Services, DNS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster that is up. All paths are absolute."""

    name: str
    provider: str
    """`local` or `kind`."""
    tier: Tier
    kubeconfig: str
    """For the ordinary shell: a port of this machine's loopback address."""
    inner_kubeconfig: str
    """For programs started with `enter()`."""
    bin_dir: str
    """Holds `kubectl` and `helm` of a version that fits."""
    network: str | None
    """Network namespace that the cluster lives in; None where the machine's own network reaches it."""
    ctr: tuple[str, ...]
    """containerd's client, with the arguments for this cluster's image store; empty where no container runs."""
    audit_log: str | None = None
    """The API server's log of changes of pods, one JSON document on each line; None where it writes none."""

    def enter(self) -> list[str]:
        """Return the words to put before a command so that it runs inside the cluster's network."""
        return [] if self.network is None else ["nsenter", f"--net={self.network}", "--"]

    def ctr_command(self) -> list[str]:
        """Return containerd's client for this cluster; `images import -` after it reads an archive from standard input.

        Raises `ClusterError` on the API tier, where no image is ever used.
        """
        if not self.ctr:
            raise ClusterError(f"cluster {self.name} has no image store: it was started without a node (--tier node)")
        return list(self.ctr)

    def environment(self) -> dict[str, str]:
        """Return a copy of this process's environment in which `kubectl` and `helm` are this cluster's."""
        path = f"{self.bin_dir}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return {**os.environ, "PATH": path, "KUBECONFIG": self.kubeconfig}

    def kubectl(self) -> list[str]:
        """Return `kubectl` with the arguments that make it talk to this cluster from the ordinary shell."""
        return [f"{self.bin_dir}/kubectl", f"--kubeconfig={self.kubeconfig}"]

    def save(self, path: Path) -> None:
        """Write it down, all or nothing, for another process to find."""
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self), indent=1))
        draft.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return what `save` wrote. Raises `ClusterError` when the file says something else."""
        try:
            raw = json.loads(path.read_text())
            return cls(**{**raw, "tier": Tier(raw["tier"]), "ctr": tuple(raw["ctr"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ClusterError(f"{path} does not describe a cluster ({error}); run `down` and `up` again") from error


class Provider(Protocol):
    """Somebody who can make clusters. All of it may be called at any time, after any interruption."""

    def up(self, name: str, tier: Tier) -> Cluster:
        """Return the cluster, started now or found running; what an interrupted start left is removed first."""

    def down(self, name: str) -> None:
        """End the cluster and leave nothing but caches; no cluster is no error."""

    def find(self, name: str) -> Cluster | None:
        """Return the cluster if it is up and answers."""


def checked_name(name: str) -> str:
    """Return `name`. Raises `ClusterError` when it cannot be a cluster's name."""
    if NAME.fullmatch(name) is None:
        raise ClusterError(f"{name!r} cannot be a cluster's name: up to 30 of a-z, 0-9 and -, beginning with a letter")
    return name
