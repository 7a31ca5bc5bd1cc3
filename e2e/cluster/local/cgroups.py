"""The cgroups of a cluster: one directory in every hierarchy, below which the kubelet makes those of the pods."""

import os
from pathlib import Path

from e2e.cluster.errors import ClusterError
from e2e.cluster.local.processes import Process, read_stat, wait_until


CPUSET_FILES = ("cpuset.cpus", "cpuset.mems")
"""Version 1 leaves them empty in a new directory, and no process may then enter it."""


def hierarchies() -> list[Path]:
    """Return where cgroup hierarchies are mounted. They are used as they are and never mounted otherwise."""
    return parse_hierarchies(Path("/proc/self/mountinfo").read_text())


def parse_hierarchies(mountinfo: str) -> list[Path]:
    """Return the mount points of types cgroup and cgroup2."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] in {"cgroup", "cgroup2"}:
            found.append(Path(before.split()[4]))
    return found


def make_cgroups(name: str) -> None:
    """Make the directory in every hierarchy. Raises `ClusterError` where that is not allowed."""
    for hierarchy in hierarchies():
        directory = hierarchy / name
        try:
            directory.mkdir(exist_ok=True)
        except OSError as error:
            raise ClusterError(
                f"cannot make the cgroup {directory}: {error.strerror}. A node needs cgroups that can be written; "
                "in a container, that is one started with --privileged"
            ) from error
        for file in CPUSET_FILES:
            ours = directory / file
            if ours.exists() and (hierarchy / "cgroup.clone_children").exists():
                ours.write_text((hierarchy / file).read_text())


def processes_in(name: str) -> list[Process]:
    """Return every process in the cluster's cgroups: what runs in its pods."""
    pids: set[int] = set()
    for hierarchy in hierarchies():
        for directory, _, files in os.walk(hierarchy / name):
            if "cgroup.procs" in files:
                pids.update(int(line) for line in Path(directory, "cgroup.procs").read_text().split())
    found = []
    for pid in sorted(pids):
        stat = read_stat(pid)
        if stat is not None and stat.state not in "ZX":
            found.append(Process(pid=pid, role="a pod's process", started=stat.started))
    return found


def remove_cgroups(name: str) -> None:
    """Remove the directories, deepest first; a moment may pass until the kernel has seen the last process go."""
    wait_until(lambda: try_to_remove(name), what=f"the kernel to let go of the cgroups {name}", timeout_seconds=20)


def try_to_remove(name: str) -> bool:
    """Whether the cluster's cgroups are all gone now."""
    gone = True
    for hierarchy in hierarchies():
        for directory, _, _ in os.walk(hierarchy / name, topdown=False):
            try:
                Path(directory).rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                gone = False
    return gone
