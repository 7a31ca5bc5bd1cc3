"""The machine that a benchmark runs on, and who else uses it meanwhile."""

import os
import platform
import resource
import time
from collections.abc import Iterable
from pathlib import Path

from e2e.bench.processes import cpu_seconds


TICKS = os.sysconf("SC_CLK_TCK")


def describe_machine() -> dict[str, str | int]:
    """Return what one has to know of the machine to read the numbers."""
    model = [line.split(": ", 1)[1] for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "cpu": model[0] if model else platform.machine(),
        "cpus": os.cpu_count() or 0,
        "memory_mb": memory[0] // 1024 if memory else 0,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


class Meter:
    """How much of the machine others use while something is measured, in cores."""

    def __init__(self, ours: Iterable[int]) -> None:
        self._ours = tuple(ours)
        self._began = time.monotonic()
        self._busy, self._stolen = _machine_seconds()
        self._own = self._own_seconds()

    def read(self) -> dict[str, float]:
        """Return `foreign` and `steal`: cores that other processes used and that the hypervisor took."""
        passed = time.monotonic() - self._began
        busy, stolen = _machine_seconds()
        foreign = busy - self._busy - (self._own_seconds() - self._own)
        return {"foreign": round(max(foreign, 0) / passed, 3), "steal": round((stolen - self._stolen) / passed, 3)}

    def _own_seconds(self) -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return cpu_seconds(self._ours) + sum(usage.ru_utime + usage.ru_stime for usage in used)


def _machine_seconds() -> tuple[float, float]:
    """Return the seconds of all CPUs that were used, and that were stolen."""
    user, nice, system, _, _, irq, softirq, steal, *_ = map(int, _lines("/proc/stat")[0].split()[1:])
    return (user + nice + system + irq + softirq) / TICKS, steal / TICKS


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
