"""Whether a gpt-oss model fits on GPUs, and how much room is left for requests. Pure.

Weights and blocks of keys and values are calculated as vLLM 0.32 does it. What vLLM needs beside them is an estimate,
made of few logs: `overhead_bytes`.
"""

from dataclasses import dataclass, field
from typing import Final

from gptoss_runtime.engine_options import (
    EngineOptions,
    KvCacheDtype,
    MoeBackend,
    PerformanceMode,
    SpeculativeMethod,
)
from gptoss_runtime.model.catalog import BF16_BYTES, ModelShape
from gptoss_runtime.model.gpus import GIB, Gpu
from gptoss_runtime.model.kv_cache import KvLayout, kv_layout
from gptoss_runtime.model.weights import KERNEL_OF_BACKEND, weights_of_stages


TENSOR_PARALLEL_SIZES: Final = (1, 2, 4, 8)
GPU_MEMORY_UTILIZATION: Final = 0.92
"""vLLM's own share of a GPU."""
GPU_BLOCK_TOKENS: Final = 16
CPU_BLOCK_TOKENS: Final = 128
CAPTURE_SIZE: Final = 1024
"""Largest batch with a CUDA graph that vLLM sets for gpt-oss."""
FP8: Final = frozenset({KvCacheDtype.FP8, KvCacheDtype.FP8_E4M3, KvCacheDtype.FP8_E5M2})

_HUGE_GPU: Final = 160 * GIB
_LARGE_GPU: Final = 70 * GIB

_DRAFT_LAYERS: Final = 1
_DRAFT_BYTES: Final = 3 * GIB // 2
"""Weights of an eagle3 head, which is one layer and a table of words: published ones have 1 to 2 GB. An estimate."""

_CONTEXT_BYTES: Final = GIB
"""CUDA's or ROCm's own state and kernels. An estimate."""
_COLLECTIVES_BYTES: Final = GIB // 2
"""Buffers of NCCL or RCCL, where GPUs share the model. An estimate."""
_GRAPHS_BASE_BYTES: Final = 3 * GIB // 10
_GRAPHS_BYTES: Final = GIB // 2
"""CUDA graphs up to a batch of CAPTURE_SIZE, beside the base. An estimate."""
_SAMPLER_COPIES: Final = 8.5
"""Copies of the logits that profiling makes. Fitted: 7.4 GiB without graphs at 1024 sequences on one H100."""
_ACTIVATION_COPIES: Final = 1.5
"""The same for a step's activations. An estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How one replica is to run, as far as memory depends on it."""

    tensor_parallel: int = 1
    max_model_len: int | None = None
    """Tokens. None: the model's own."""
    max_num_seqs: int = 128
    gpu_memory_utilization: float | None = None
    block_tokens: int | None = None
    """Tokens of one block. None: vLLM's own."""
    engine: EngineOptions = field(default_factory=EngineOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class KvPlan:
    """The room for keys and values, as vLLM counts it."""

    blocks: int
    context: int
    """Longest prompt and answer together that was asked for, in tokens."""
    tokens: int
    """What vLLM logs as `KV cache size`."""
    concurrency: float
    """What vLLM logs as `Maximum concurrency`."""
    admitted: int
    """Requests of `context` tokens that vLLM takes in at once."""
    sequences: int
    """Requests of `context` tokens that can be answered at once, when none of them is being read in."""
    largest_context: int
    """Longest context that a single request has room for, at most the model's own. 0: none."""

    @property
    def fits(self) -> bool:
        """Whether vLLM starts: one request of `context` tokens has room."""
        return self.admitted >= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """One replica's memory on the GPU that has the least room. All bytes are of one GPU."""

    weights_bytes: int
    """On the GPU that holds most."""
    overhead_bytes: int
    """What vLLM needs beside weights and keys and values. An estimate."""
    kv_bytes: int
    """What is left for keys and values; 0 where nothing is."""
    weights_fit: bool
    """Whether weights and what is needed beside them fit at all."""
    kv: KvPlan

    @property
    def fits(self) -> bool:
        """Whether vLLM starts: weights and one request of the full context have room."""
        return self.weights_fit and self.kv.fits


def plan_memory(shape: ModelShape, gpu: Gpu, wish: Wish) -> MemoryPlan:
    """Return what one replica of `wish` holds on GPUs of this kind. The sizes must be possible: see `advice`."""
    engine = wish.engine
    overhead = overhead_bytes(shape, gpu, wish)
    weights = _weights_with_draft(shape, gpu, wish)
    share = wish.gpu_memory_utilization or GPU_MEMORY_UTILIZATION
    if engine.kv_cache_memory_bytes is None:
        free = tuple(int(gpu.usable_bytes * share) - stage - overhead for stage in weights)
        weights_fit = min(free) > 0
    else:
        free = (engine.kv_cache_memory_bytes,) * engine.pipeline_parallel_size
        weights_fit = max(weights) + overhead + engine.kv_cache_memory_bytes <= gpu.usable_bytes
    layout = _layout(shape, wish, batched_tokens(shape, gpu, wish), is_async=_is_async(engine))
    return MemoryPlan(
        weights_bytes=max(weights),
        overhead_bytes=overhead,
        kv_bytes=max(0, min(free)),
        weights_fit=weights_fit,
        kv=_room(shape, layout, layout.blocks(free), wish.max_model_len),
    )


def plan_cpu(shape: ModelShape, kv_bytes: int, wish: Wish) -> KvPlan:
    """Return what vLLM on a CPU makes of `kv_bytes` for keys and values, in each of its processes.

    That is VLLM_CPU_KVCACHE_SPACE, unless kv_cache_memory_bytes is given and the variable is not.
    """
    processes = wish.tensor_parallel * wish.engine.pipeline_parallel_size
    layout = _layout(shape, wish, _defaulted(shape, wish, 2048 * processes), is_async=False, cpu=True)
    blocks = layout.blocks((kv_bytes,) * wish.engine.pipeline_parallel_size)
    return _room(shape, layout, blocks, wish.max_model_len)


def batched_tokens(shape: ModelShape, gpu: Gpu, wish: Wish) -> int:
    """Return the tokens of one step: the user's, else vLLM's own for this GPU."""
    if gpu.memory_bytes >= _HUGE_GPU:
        return _defaulted(shape, wish, 16384)
    if gpu.memory_bytes >= _LARGE_GPU and "a100" not in gpu.name.lower():
        return _defaulted(shape, wish, 8192)
    return _defaulted(shape, wish, 2048)


def overhead_bytes(shape: ModelShape, gpu: Gpu, wish: Wish) -> int:
    """Return what vLLM needs on a GPU beside weights and keys and values. An estimate, right to about 2 GiB."""
    tensor_parallel, engine = wish.tensor_parallel, wish.engine
    sampler = wish.max_num_seqs * shape.vocab * 4 * _SAMPLER_COPIES
    widths = shape.experts_per_token * (2 * shape.intermediate / tensor_parallel + shape.hidden) + 6 * shape.hidden
    step = batched_tokens(shape, gpu, wish) * widths * BF16_BYTES * _ACTIVATION_COPIES
    graphs = 0
    if not engine.enforce_eager:
        capture = engine.max_cudagraph_capture_size or CAPTURE_SIZE
        graphs = _GRAPHS_BASE_BYTES + _GRAPHS_BYTES * capture // CAPTURE_SIZE
    collectives = _COLLECTIVES_BYTES if tensor_parallel * engine.pipeline_parallel_size > 1 else 0
    return int(max(sampler, step)) + _CONTEXT_BYTES + collectives + graphs


def _weights_with_draft(shape: ModelShape, gpu: Gpu, wish: Wish) -> tuple[int, ...]:
    engine = wish.engine
    kernel = KERNEL_OF_BACKEND.get(engine.moe_backend or MoeBackend.AUTO, gpu.kernel)
    *others, last = weights_of_stages(
        shape,
        kernel,
        tensor_parallel=wish.tensor_parallel,
        pipeline_parallel=engine.pipeline_parallel_size,
        expert_parallel=engine.expert_parallel,
    )
    return (*others, last + (_DRAFT_BYTES if _has_draft(engine) else 0))


def _defaulted(shape: ModelShape, wish: Wish, default: int) -> int:
    """Return the user's tokens of one step, else vLLM's, which are doubled for throughput and bounded by requests."""
    if wish.engine.max_num_batched_tokens is not None:
        return wish.engine.max_num_batched_tokens
    if wish.engine.performance_mode == PerformanceMode.THROUGHPUT:
        default *= 2
    return min(default, wish.max_num_seqs * (wish.max_model_len or shape.max_context))


def _layout(shape: ModelShape, wish: Wish, batched: int, *, is_async: bool, cpu: bool = False) -> KvLayout:
    stages = wish.engine.pipeline_parallel_size
    return kv_layout(
        shape,
        tensor_parallel=wish.tensor_parallel,
        pipeline_parallel=stages,
        block_tokens=wish.block_tokens or (CPU_BLOCK_TOKENS if cpu else GPU_BLOCK_TOKENS),
        in_flight_tokens=batched * (stages + 1 if is_async else stages),
        fp8=wish.engine.kv_cache_dtype in FP8,
        draft_layers=_DRAFT_LAYERS if _has_draft(wish.engine) else 0,
    )


def _room(shape: ModelShape, layout: KvLayout, blocks: int, max_model_len: int | None) -> KvPlan:
    context = max_model_len or shape.max_context
    of_request = layout.blocks_of_request(context)
    # vLLM holds one block back, but counts it in what it logs.
    usable = max(0, blocks - 1)
    concurrency = blocks / of_request
    return KvPlan(
        blocks=blocks,
        context=context,
        tokens=int(concurrency * context),
        concurrency=concurrency,
        admitted=usable // of_request,
        sequences=usable // layout.blocks_of_sequence(context),
        largest_context=_largest_context(layout, usable, shape.max_context),
    )


def _largest_context(layout: KvLayout, usable: int, most: int) -> int:
    """Return the longest context whose request fits in `usable` blocks."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if layout.blocks_of_request(middle) <= usable else (low, middle - 1)
    return low


def _has_draft(engine: EngineOptions) -> bool:
    return engine.speculation is not None and engine.speculation.method == SpeculativeMethod.EAGLE3


def _is_async(engine: EngineOptions) -> bool:
    """Return whether the next step is planned while one runs, which speculation from the prompt rules out."""
    from_prompt = engine.speculation is not None and engine.speculation.method == SpeculativeMethod.NGRAM
    return engine.async_scheduling is not False and not from_prompt
