"""Processes of pods, found and killed from the machine that runs the cluster, as a crash would end them.

The node runs on this machine, in namespaces or in a container, so its processes are in this machine's /proc.
"""

import os
import signal
from pathlib import Path


class NoProcessError(Exception):
    """A pod has no such process."""


def kill_in_pod(pod_uid: str, command: str) -> int:
    """SIGKILL the first process of the pod whose command line or name contains `command`; return its pid here."""
    for pid in pids_of(pod_uid):
        if command in _said(pid):
            os.kill(pid, signal.SIGKILL)
            return pid
    raise NoProcessError(f"pod {pod_uid} has no process like {command!r}: {[_said(pid) for pid in pids_of(pod_uid)]}")


def pids_of(pod_uid: str) -> list[int]:
    """Return the processes of a pod, oldest first, without its pause container's."""
    marks = (pod_uid, pod_uid.replace("-", "_"))
    found = [
        int(directory.name)
        for directory in Path("/proc").iterdir()
        if directory.name.isdecimal() and any(mark in _read(directory / "cgroup") for mark in marks)
    ]
    return [pid for pid in sorted(found) if _said(pid) and "pause" not in _said(pid)]


def _said(pid: int) -> str:
    """Return the command line and the name of a process; vLLM's workers only change the latter."""
    directory = Path("/proc", str(pid))
    return _read(directory / "cmdline").replace("\0", " ") + _read(directory / "comm")


def _read(path: Path) -> str:
    """Return a file of /proc; empty when its process has ended meanwhile."""
    try:
        return path.read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
