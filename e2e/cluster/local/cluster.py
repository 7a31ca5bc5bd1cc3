"""The provider `local`: starts and ends clusters on this machine."""

import os
import platform
from pathlib import Path

from e2e.cluster import packages
from e2e.cluster.errors import ClusterError
from e2e.cluster.local import binaries, modules
from e2e.cluster.local.api import answers
from e2e.cluster.local.controlplane import Launcher, start_control_plane
from e2e.cluster.local.kwok import start_kwok
from e2e.cluster.local.netns import make_network
from e2e.cluster.local.node import start_node
from e2e.cluster.local.places import Places, require_free_space
from e2e.cluster.local.teardown import exclusive, leftovers, remove_tree, tear_down
from e2e.cluster.provider import Cluster, Tier, checked_name
from e2e.open_files import raise_open_files
from e2e.progress import say, step


STATE_GIBIBYTES = 1


class LocalProvider:
    """Clusters of processes on this machine."""

    def up(self, name: str, tier: Tier) -> Cluster:
        """Return the cluster, started now or found running; what an interrupted start left is removed first.

        Raises `ClusterError`; nothing is left running then.
        """
        places = Places(name=checked_name(name))
        require_linux_and_root()
        needed = prepare(tier)
        with exclusive(places):
            running = self.find(name)
            if running is not None and running.tier == tier:
                say(f"cluster {name} is up already")
                return running
            remove_tree(places.logs_of_failure)
            if leftovers(places):
                with step(f"removing what is left of an earlier {name}"):
                    tear_down(places)
            try:
                return start_cluster(Launcher(places=places, binaries=needed), tier)
            except BaseException as error:  # also a Ctrl-C: a cluster that is not complete must not stay
                with step("ending what was started"):
                    if isinstance(error, ClusterError):
                        keep_logs(places)
                    tear_down(places)
                raise

    def down(self, name: str) -> None:
        """End the cluster and leave nothing but caches; no cluster is no error."""
        places = Places(name=checked_name(name))
        require_linux_and_root()
        with exclusive(places), step(f"ending cluster {name}"):
            tear_down(places)
            remove_tree(places.logs_of_failure)

    def find(self, name: str) -> Cluster | None:
        """Return the cluster if it is up and answers."""
        places = Places(name=checked_name(name))
        if not places.record.exists():
            return None
        cluster = Cluster.load(places.record)
        return cluster if answers(places, "/readyz") else None


def require_linux_and_root() -> None:
    """Raise `ClusterError` where network namespaces, cgroups and mounts cannot be made."""
    if platform.system() != "Linux":
        raise ClusterError("the provider `local` needs Linux; with Docker, use --provider kind")
    if os.geteuid() != 0:
        raise ClusterError(
            "the provider `local` makes network namespaces and mounts: run it as root, or install Docker"
        )


def prepare(tier: Tier) -> dict[str, Path]:
    """Return the programs of the tier, after installing or building what is not there."""
    match tier:
        case Tier.API:
            packages.ensure_packages(packages.FOR_API)
            return binaries.ensure_binaries(modules.FOR_API)
        case Tier.NODE:
            packages.ensure_packages(packages.FOR_NODE)
            return binaries.ensure_binaries(modules.FOR_NODE)


def start_cluster(launcher: Launcher, tier: Tier) -> Cluster:
    """Start everything, in order, and return the cluster when it works."""
    places = launcher.places
    for directory in (places.run, places.data):
        require_free_space(directory, STATE_GIBIBYTES, "a cluster's state")
    raise_open_files()
    link_programs(launcher)
    make_network(places.network, tier)
    start_control_plane(launcher, tier)
    match tier:
        case Tier.API:
            start_kwok(launcher)
            ctr: tuple[str, ...] = ()
            audit_log = None
        case Tier.NODE:
            ctr = start_node(launcher)
            audit_log = str(places.audit_log)
    cluster = Cluster(
        name=places.name,
        provider="local",
        tier=tier,
        kubeconfig=str(places.kubeconfig),
        inner_kubeconfig=str(places.inner_kubeconfig),
        bin_dir=str(places.bin),
        network=str(places.network),
        ctr=ctr,
        audit_log=audit_log,
    )
    cluster.save(places.record)
    return cluster


def link_programs(launcher: Launcher) -> None:
    """Put all programs into one directory, for a person's PATH."""
    launcher.places.bin.mkdir(parents=True)
    for program, path in launcher.binaries.items():
        (launcher.places.bin / program).symlink_to(path)


def keep_logs(places: Places) -> None:
    """Save the logs of a start that failed from being removed with everything else."""
    if places.logs.exists():
        places.logs.rename(places.logs_of_failure)
        say(f"its logs are kept in {places.logs_of_failure}")
