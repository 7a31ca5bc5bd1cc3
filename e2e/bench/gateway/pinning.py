"""Who runs on which CPU: what is measured has one for itself."""

import os

from e2e.bench.errors import BenchError


PROXY = ("taskset", "--cpu-list", "0")
LOAD = ("taskset", "--cpu-list", "1")
"""Clients and simulated replicas."""


def require_two_cpus() -> None:
    """Raise BenchError on a machine with one CPU, where the load would be measured with the proxy."""
    if not {0, 1} <= os.sched_getaffinity(0):
        raise BenchError("the bench needs CPU 0 for the proxy and CPU 1 for load and simulated replicas")
