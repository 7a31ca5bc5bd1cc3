"""End a cluster: works from its name alone, at any time, after any interruption, as often as one likes."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from e2e.cluster.commands import run
from e2e.cluster.errors import ClusterError
from e2e.cluster.local.cgroups import hierarchies, processes_in, remove_cgroups
from e2e.cluster.local.netns import mounts_below, remove_network
from e2e.cluster.local.places import Places
from e2e.cluster.local.processes import in_namespace, owned, stop, wait_until


LOCK_SECONDS = 180
"""Longer than an orderly start or end takes."""
KEEPER = "containerd"
"""The one process with data that is kept; it gets the time to write them down."""
KEEPER_GRACE_SECONDS = 10


@contextlib.contextmanager
def exclusive(places: Places) -> Iterator[None]:
    """Hold the cluster's lock: of two that start or end one cluster, one waits. It is free when its holder dies."""
    places.lock.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        what = f"the process that starts or ends cluster {places.name} now (it holds {places.lock})"
        wait_until(lambda: take_lock(places.lock, held), what=what, timeout_seconds=LOCK_SECONDS)
        yield
        if not places.run.exists():
            places.lock.unlink()


def take_lock(path: Path, held: contextlib.ExitStack) -> bool:
    """Whether the lock could be taken now; it is held until `held` is closed."""
    with contextlib.ExitStack() as attempt:
        lock = attempt.enter_context(path.open("a"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if not path.exists() or not os.path.samestat(path.stat(), os.fstat(lock.fileno())):
            return False  # its last holder removed the file, so this lock keeps nobody out
        held.enter_context(attempt.pop_all())
    return True


def leftovers(places: Places) -> list[str]:
    """Return what there is of a cluster, in words; nothing after `tear_down`."""
    found = [f"process {process.pid} ({process.role})" for process in owned(places.name)]
    found += [f"process {process.pid} ({process.role})" for process in processes_in(places.cgroup)]
    found += [f"mount {mount}" for path in (places.run, places.data) for mount in mounts_below(path)]
    directories = [places.run, places.data, *(hierarchy / places.cgroup for hierarchy in hierarchies())]
    return found + [f"directory {path}" for path in directories if path.exists()]


def tear_down(places: Places) -> None:
    """End the cluster's processes and remove all that it made, except for caches.

    Raises `ClusterError` when something resists, naming it.
    """
    places.record.unlink(missing_ok=True)  # from now on nobody takes it for a cluster that is up
    end_processes(places)
    remove_network(places.network)
    for directory in (places.run, places.data):
        for mount in mounts_below(directory):
            run(["umount", "--lazy", mount], timeout_seconds=10)
        remove_tree(directory)
    remove_cgroups(places.cgroup)


def end_processes(places: Places) -> None:
    """End first what would start others, then the pods, then containerd, then the rest."""
    starters = {"kubelet", "gpu-plugin", "kwok", "kube-controller-manager", "kube-scheduler"}
    stop([process for process in owned(places.name) if process.role in starters], grace_seconds=0)
    wait_until(lambda: kill_pods(places), what=f"the pods of {places.name} to end", timeout_seconds=20)
    keeper = [process for process in owned(places.name) if process.role == KEEPER]
    stop(keeper, grace_seconds=KEEPER_GRACE_SECONDS)
    wait_until(lambda: kill_rest(places), what=f"the processes of {places.name} to end", timeout_seconds=20)


def kill_pods(places: Places) -> bool:
    """Kill what runs in pods; whether nothing did."""
    running = processes_in(places.cgroup)
    stop(running, grace_seconds=0)
    return not running


def kill_rest(places: Places) -> bool:
    """Kill what carries the cluster's mark or uses its network; whether nothing did."""
    running = [*owned(places.name), *in_namespace(places.network)]
    stop(running, grace_seconds=0)
    return not running


def remove_tree(directory: Path) -> None:
    """Remove a directory. Raises `ClusterError` rather than to reach into another file system through a mount."""
    if mounts := mounts_below(directory):
        raise ClusterError(f"cannot remove {directory}: {mounts[0]} is still mounted; unmount it and run `down` again")
    if os.path.lexists(directory):
        shutil.rmtree(directory)
