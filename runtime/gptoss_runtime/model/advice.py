"""Whether a model may be run as somebody wishes, how many GPUs are best, and what to change if not: in words. Pure."""

from dataclasses import dataclass, replace
from typing import Final

from gptoss_runtime.model.catalog import ModelShape
from gptoss_runtime.model.gpus import GIB, Gpu
from gptoss_runtime.model.memory import FP8, TENSOR_PARALLEL_SIZES, MemoryPlan, Wish, plan_memory


ROOM_SEQUENCES: Final = 8
ROOM_CONTEXT: Final = 32768
"""A replica has room when it holds so many sequences of its context, or of so many tokens where its context is longer.

262,144 tokens are 128 requests, as many as a replica runs at once by default, of 2,048 tokens each. Few requests are
longer than ROOM_CONTEXT, so the full 131,072 tokens of the model would ask for GPUs that nobody uses.
"""
SHORTEST_CONTEXT: Final = 1024
"""No shorter context is proposed, in tokens."""

OLDEST_CAPABILITY: Final = (8, 0)
FP8_CAPABILITY: Final = (8, 9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Whether one replica fits, and why."""

    fits: bool
    reason: str
    """What is needed and what room is left; where that is little or nothing, what to change."""
    plan: MemoryPlan | None
    """The numbers. None: it is impossible for another reason than memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """How many GPUs should share the model, and why."""

    tensor_parallel: int | None
    """None: no number of these GPUs will do."""
    reason: str


def refuse(shape: ModelShape, gpu: Gpu, wish: Wish) -> str | None:
    """Return why vLLM could not run this on such a GPU, however much memory it has. None: nothing speaks against it."""
    size = wish.tensor_parallel
    if size not in TENSOR_PARALLEL_SIZES or shape.kv_heads % size:
        sizes = ", ".join(str(s) for s in TENSOR_PARALLEL_SIZES if shape.kv_heads % s == 0)
        return f"tensorParallel {size}: {shape.name} has {shape.kv_heads} key-value heads, use one of {sizes}"
    number = size * wish.engine.pipeline_parallel_size
    if gpu.is_slice and number > 1:
        return (
            f"{shape.name} on {number} of {gpu.name}: slices of GPUs have no way to one another; "
            "use tensorParallel 1 without pipelineParallel, or whole GPUs"
        )
    capability = gpu.capability
    if capability and capability < OLDEST_CAPABILITY:
        have = ".".join(map(str, capability))
        return (
            f"{gpu.name} has compute capability {have}: vLLM runs gpt-oss from 8.0 on, such as A10G, A100 or L4; "
            "choose other nodes with spec.gpu.nodeSelector"
        )
    if capability and capability < FP8_CAPABILITY and wish.engine.kv_cache_dtype in FP8:
        return (
            f"kvCacheDtype {wish.engine.kv_cache_dtype} needs compute capability 8.9 (L4, L40S, H100 and later), "
            f"and {gpu.name} has {'.'.join(map(str, capability))}: leave it out"
        )
    return None


def advise(shape: ModelShape, gpu: Gpu, wish: Wish) -> Advice:
    """Return whether one replica of `wish` fits on such GPUs, in words with the remedy."""
    if problem := refuse(shape, gpu, wish):
        return Advice(fits=False, reason=problem, plan=None)
    plan = plan_memory(shape, gpu, wish)
    reason = _needs(shape, gpu, wish, plan)
    if not plan.fits or _room(shape, gpu, wish) < ROOM_SEQUENCES:
        reason += f": {_remedy(shape, gpu, wish, plan)}"
    return Advice(fits=plan.fits, reason=reason, plan=plan)


def recommend_tensor_parallel(
    shape: ModelShape, gpu: Gpu, wish: Wish, *, gpus_per_node: int | None = None
) -> Recommendation:
    """Return the fewest GPUs that hold the model with room for ROOM_SEQUENCES, or else for a single request.

    Fewer GPUs for each replica serve more requests in all: what GPUs say to each other is work too. `wish` says
    everything but the size. `gpus_per_node` bounds it, where it is known.
    """
    stages = wish.engine.pipeline_parallel_size
    all_sizes = TENSOR_PARALLEL_SIZES[:1] if gpu.is_slice else TENSOR_PARALLEL_SIZES
    sizes = [s for s in all_sizes if gpus_per_node is None or s * stages <= gpus_per_node]
    if not sizes:
        reason = f"a replica takes at least {stages} GPUs, {_no_node_has_more(gpus_per_node)}"
        return Recommendation(tensor_parallel=None, reason=f"{reason}: lower spec.engine.pipelineParallel")
    wishes = [replace(wish, tensor_parallel=size) for size in sizes if shape.kv_heads % size == 0]
    rooms = [0 if refuse(shape, gpu, w) else _room(shape, gpu, w) for w in wishes]
    for enough in (ROOM_SEQUENCES, 1):
        if best := next((w for w, room in zip(wishes, rooms, strict=True) if room >= enough), None):
            return Recommendation(tensor_parallel=best.tensor_parallel, reason=advise(shape, gpu, best).reason)
    reason = advise(shape, gpu, wishes[-1]).reason
    if gpus_per_node is not None and gpus_per_node < all_sizes[-1] * stages:
        reason += f" ({_no_node_has_more(gpus_per_node)})"
    return Recommendation(tensor_parallel=None, reason=reason)


def _no_node_has_more(gpus: int | None) -> str:
    return f"no known node has more than {gpus} GPU{'' if gpus == 1 else 's'}"


def _needs(shape: ModelShape, gpu: Gpu, wish: Wish, plan: MemoryPlan) -> str:
    """Return what the model takes and leaves on each GPU."""
    number = wish.tensor_parallel * wish.engine.pipeline_parallel_size
    on = f"on one {gpu.name}" if number == 1 else f"on each of {number} {gpu.name}"
    needs = f"{shape.name} needs {plan.weights_bytes / GIB:.1f} GiB {on}"
    context = plan.kv.context
    if not plan.weights_fit:
        beside = plan.overhead_bytes / GIB
        return f"{needs} and about {beside:.1f} GiB beside it, which is more than vLLM may take there"
    if not plan.kv.fits:
        return f"{needs} and leaves {plan.kv_bytes / GIB:.1f} GiB, too little for one sequence of {context} tokens"
    sequences = "1 sequence" if plan.kv.sequences == 1 else f"{plan.kv.sequences} sequences"
    return f"{needs} and leaves room for {sequences} of {context} tokens"


def _remedy(shape: ModelShape, gpu: Gpu, wish: Wish, plan: MemoryPlan) -> str:
    """Return what to change for a replica that does not fit, or that has little room."""
    enough = ROOM_SEQUENCES if plan.fits else 1
    ways = []
    for size in TENSOR_PARALLEL_SIZES:
        more = replace(wish, tensor_parallel=size)
        if size > wish.tensor_parallel and not refuse(shape, gpu, more) and _room(shape, gpu, more) >= enough:
            ways.append(f"tensorParallel {size}")
            break
    if context := _shorter_context(shape, gpu, wish, plan, enough):
        ways.append(f"maxModelLen {context}")
    if ways:
        return f"use {' or '.join(ways)}"
    if plan.fits:
        return "GPUs with more memory have room for more"
    return "take GPUs with more memory, or a smaller model"


def _shorter_context(shape: ModelShape, gpu: Gpu, wish: Wish, plan: MemoryPlan, enough: int) -> int | None:
    """Return the longest context, in steps of a half, of which `enough` sequences have room."""
    context = 1 << (plan.kv.context - 1).bit_length() - 1
    while plan.weights_fit and context >= SHORTEST_CONTEXT:
        shorter = plan_memory(shape, gpu, replace(wish, max_model_len=context))
        if shorter.fits and shorter.kv.sequences >= enough:
            return context
        context //= 2
    return None


def _room(shape: ModelShape, gpu: Gpu, wish: Wish) -> int:
    """Return how many sequences fit, of the context or of ROOM_CONTEXT. 0: not even one of the whole context does."""
    whole = plan_memory(shape, gpu, wish)
    if not whole.fits or whole.kv.context <= ROOM_CONTEXT:
        return whole.kv.sequences if whole.fits else 0
    return plan_memory(shape, gpu, replace(wish, max_model_len=ROOM_CONTEXT)).kv.sequences
