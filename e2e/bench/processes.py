"""What processes use, read from /proc. Those that have ended count as nothing."""

from collections.abc import Iterable
from pathlib import Path


def with_children(pids: Iterable[int]) -> list[int]:
    """Return the processes and all that they started."""
    found = list(pids)
    for pid in found:
        for task in _tasks(pid):
            found += [int(child) for child in _read(task / "children").split()]
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time of the processes and their children, to the nanosecond. Threads that have ended are lost."""
    spent = [_read(task / "schedstat").split() for pid in with_children(pids) for task in _tasks(pid)]
    return sum(int(fields[0]) for fields in spent if fields) / 1e9


def resident_mb(pids: Iterable[int]) -> float:
    """Return the memory that the processes and their children have now. What they share counts for each."""
    return _status_mb(pids, "VmRSS")


def peak_resident_mb(pids: Iterable[int]) -> float:
    """Return the most memory that each process and its children have had, added up."""
    return _status_mb(pids, "VmHWM")


def _status_mb(pids: Iterable[int], field: str) -> float:
    kilobytes = 0
    for pid in with_children(pids):
        for line in _read(Path("/proc", str(pid), "status")).splitlines():
            if line.startswith(f"{field}:"):
                kilobytes += int(line.split()[1])
    return kilobytes / 1024


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path("/proc", str(pid), "task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
