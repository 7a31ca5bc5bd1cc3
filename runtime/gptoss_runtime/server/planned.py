"""What a replica's memory should hold, foreseen before vLLM starts, to be compared with what vLLM says afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gptoss_runtime.model.advice import refuse
from gptoss_runtime.model.catalog import SHAPES, ModelShape, UnknownModel, shape_of_config
from gptoss_runtime.model.gpus import GIB, Gpu, GpuFacts, gpu_of_device
from gptoss_runtime.model.memory import GPU_MEMORY_UTILIZATION, MemoryPlan, plan_cpu, plan_memory
from gptoss_runtime.model.wishes import wish_of
from gptoss_runtime.orders import ServerOrders


_OFFLOADING: Final = ("--cpu-offload", "--offload")
"""Arguments that keep weights elsewhere, so that they need not fit on the GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedReplica:
    """What the planner foresees for one replica."""

    kv_tokens: int
    """Tokens that the key-value cache has room for, as vLLM counts and logs them. 0 where nothing fits."""
    weights_bytes: int
    """Weights on the GPU that holds the most; 0 on a CPU."""
    refusal: str | None
    """Why vLLM cannot start at all, and what to do instead. None: it may try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How well the plan foresaw what vLLM made."""

    ratio: float | None
    """vLLM's tokens for each one that was planned. None: none was planned."""
    reason: str
    """One sentence, for the log."""


def plan_replica(
    orders: ServerOrders,
    config: Mapping[str, object] | None,
    gpus: Sequence[GpuFacts],
    *,
    cpu_kv_bytes: int | None = None,
) -> PlannedReplica | None:
    """Return what the planner foresees for these orders. None: not enough is known for a plan.

    `config` is the model directory's config.json, `gpus` the GPUs that the server sees; the one with the least memory
    decides. Without GPUs the plan is for a CPU, whose key-value cache has `cpu_kv_bytes` (VLLM_CPU_KVCACHE_SPACE).
    Refused is only what is certain: weights that have no room. What vLLM needs beside them is an estimate.
    """
    shape = _shape(orders, config)
    if shape is None or orders.engine.quantization not in {"", "mxfp4"}:
        return None
    wish = wish_of(orders)
    if not gpus:
        kv_bytes = cpu_kv_bytes or orders.engine.kv_cache_memory_bytes
        if not kv_bytes:
            return None
        return PlannedReplica(kv_tokens=plan_cpu(shape, kv_bytes, wish).tokens, weights_bytes=0, refusal=None)
    gpu = gpu_of_device(min(gpus, key=lambda facts: facts.memory_bytes))
    if refuse(shape, gpu, wish):
        # vLLM says it in its own words, and a newer one may be able to do it.
        return None
    plan = plan_memory(shape, gpu, wish)
    offloads = any(argument.startswith(_OFFLOADING) for argument in orders.extra_args)
    return PlannedReplica(
        kv_tokens=plan.kv.tokens if plan.weights_fit else 0,
        weights_bytes=plan.weights_bytes,
        refusal=None if offloads else _refusal(shape, gpu, orders, plan),
    )


def compare(planned: PlannedReplica, kv_tokens: int) -> Comparison:
    """Return how `kv_tokens`, which vLLM has room for, compares with the plan."""
    if not planned.kv_tokens:
        return Comparison(ratio=None, reason=f"the key-value cache holds {kv_tokens} tokens; the plan foresaw none")
    ratio = kv_tokens / planned.kv_tokens
    reason = f"the key-value cache holds {kv_tokens} tokens, {ratio:.0%} of the {planned.kv_tokens} that were planned"
    return Comparison(ratio=ratio, reason=reason)


def _shape(orders: ServerOrders, config: Mapping[str, object] | None) -> ModelShape | None:
    """Return the model's shape: that of its own config.json, else what the name of its directory or repository says."""
    name = orders.model.rstrip("/").rpartition("/")[2]
    if config is None:
        return SHAPES.get(name)
    try:
        return shape_of_config(config, name=name)
    except UnknownModel:
        return None


def _refusal(shape: ModelShape, gpu: Gpu, orders: ServerOrders, plan: MemoryPlan) -> str | None:
    share = orders.gpu_memory_utilization or GPU_MEMORY_UTILIZATION
    if orders.engine.kv_cache_memory_bytes is not None:
        share = 1.0
    room = int(gpu.usable_bytes * share)
    if plan.weights_bytes <= room:
        return None
    number = orders.tensor_parallel_size * orders.engine.pipeline_parallel_size
    on = f"one {gpu.name}" if number == 1 else f"each of {number} {gpu.name}"
    return (
        f"{shape.name} needs {plan.weights_bytes / GIB:.1f} GiB on {on}, of which vLLM may take {room / GIB:.1f} GiB: "
        "raise spec.tensorParallel, or take GPUs with more memory"
    )
