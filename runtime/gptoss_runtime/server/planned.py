"""What a replica's memory should hold, foreseen before vLLM starts, to be compared with what vLLM says afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gptoss_runtime.model.gpus import GpuFacts
from gptoss_runtime.orders import ServerOrders


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedReplica:
    """What the planner foresees for one replica."""

    kv_tokens: int
    """Tokens that the key-value cache has room for, as vLLM counts and logs them. 0 where nothing fits."""
    weights_bytes: int
    """Weights on the GPU that holds the most."""
    refusal: str | None
    """Why vLLM cannot start at all, and what to do instead. None: it may try."""


def plan_replica(
    orders: ServerOrders,  # noqa: ARG001 - read by the planner, which follows
    config: Mapping[str, object] | None,  # noqa: ARG001 - the same
    gpus: Sequence[GpuFacts],  # noqa: ARG001 - the same
    *,
    cpu_kv_bytes: int | None = None,  # noqa: ARG001 - the same
) -> PlannedReplica | None:
    """Return what the planner foresees for these orders. None: not enough is known for a plan.

    `config` is the model directory's config.json, `gpus` the GPUs that the server sees. Without GPUs the plan is for a
    CPU, whose key-value cache has `cpu_kv_bytes` (VLLM_CPU_KVCACHE_SPACE).
    """
    return None
