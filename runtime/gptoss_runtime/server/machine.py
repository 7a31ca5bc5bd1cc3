"""What the kernel says of a process and of the pod's memory."""

import os
from pathlib import Path

from gptoss_runtime.server.deep import MemoryUse


CGROUP = Path("/sys/fs/cgroup")
"""Where a container sees its own control group, version 2."""
_TICKS = os.sysconf("SC_CLK_TCK")


def read_cpu_seconds(pid: int) -> float | None:
    """Return the CPU time of all threads of a process so far; None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The fields after the program's name, which may hold spaces and brackets: proc(5) counts from 1, state is 3.
    fields = text.rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / _TICKS


def read_memory(group: Path = CGROUP) -> MemoryUse | None:
    """Return the pod's memory; None where there is no control group of version 2."""
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
        stat = {name: int(value) for name, value in (line.split() for line in lines)}
        return MemoryUse(
            used_bytes=stat["anon"] + stat["shmem"],
            limit_bytes=None if limit == "max" else int(limit),
        )
    except (OSError, KeyError, ValueError):
        return None
