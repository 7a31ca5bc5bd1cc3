"""What is foreseen of this replica's memory, from the model's directory and the GPUs that are there."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gptoss_runtime.model.gpus import GIB, GpuFacts
from gptoss_runtime.orders import ServerOrders
from gptoss_runtime.server.planned import PlannedReplica, plan_replica


CPU_SPACE_ENV = "VLLM_CPU_KVCACHE_SPACE"
"""vLLM's variable for the key-value cache on a CPU, in GiB."""


def foresee(orders: ServerOrders, environment: Mapping[str, str], gpus: Sequence[GpuFacts]) -> PlannedReplica | None:
    """Return what is foreseen for a vLLM with this environment; None when not enough is known.

    Without GPUs something is foreseen only where vLLM runs on the CPU, not where a driver does not answer.
    """
    space = environment.get(CPU_SPACE_ENV, "")
    cpu_kv_bytes = int(float(space) * GIB) if space.replace(".", "", 1).isdecimal() else None
    if not gpus and cpu_kv_bytes is None:
        return None
    return plan_replica(orders, read_config(orders.model), gpus, cpu_kv_bytes=cpu_kv_bytes)


def read_config(model: str) -> dict[str, Any] | None:
    """Return the config.json of the directory `model`; None when there is none that can be read."""
    try:
        document = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None
