"""Rules that hold for all of the planner's numbers."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.engine_options import EngineOptions, KvCacheDtype
from gptoss_runtime.model.catalog import SHAPES, ModelShape
from gptoss_runtime.model.gpus import GIB, GPUS, Gpu, GpuType
from gptoss_runtime.model.memory import GPU_MEMORY_UTILIZATION, Wish, plan_memory


# Steps of a fixed size: vLLM's default grows with a GPU's memory, and with it what a request is charged.
STEADY = EngineOptions(max_num_batched_tokens=2048)

SIXTEEN_BITS = [replace(shape, name=f"{name} in 16 bits", mxfp4_experts=False) for name, shape in SHAPES.items()]
shapes = st.sampled_from([*SHAPES.values(), *SIXTEEN_BITS])
gpus = st.sampled_from([GPUS[type_] for type_ in GpuType])
contexts = st.integers(256, 131072)
sizes = st.sampled_from([1, 2, 4, 8])
dtypes = st.sampled_from([None, KvCacheDtype.FP8])


@st.composite
def wishes(draw: st.DrawFn) -> Wish:
    engine = replace(
        STEADY, kv_cache_dtype=draw(dtypes), enforce_eager=draw(st.booleans()), expert_parallel=draw(st.booleans())
    )
    return Wish(
        tensor_parallel=draw(sizes),
        max_model_len=draw(contexts),
        max_num_seqs=draw(st.integers(1, 512)),
        gpu_memory_utilization=draw(st.sampled_from([None, 0.5, 0.95])),
        engine=engine,
    )


@given(shape=shapes, gpu=gpus, wish=wishes(), more=st.integers(1, 100))
def test_more_memory_never_holds_less(shape: ModelShape, gpu: Gpu, wish: Wish, more: int) -> None:
    plan = plan_memory(shape, gpu, wish)
    larger = plan_memory(shape, replace(gpu, memory_bytes=gpu.memory_bytes + more * GIB), wish)
    assert larger.kv.blocks >= plan.kv.blocks
    assert larger.kv.tokens >= plan.kv.tokens
    assert larger.kv.largest_context >= plan.kv.largest_context
    assert larger.fits >= plan.fits


@given(shape=shapes, gpu=gpus, wish=wishes())
def test_more_gpus_never_hold_less(shape: ModelShape, gpu: Gpu, wish: Wish) -> None:
    plans = [plan_memory(shape, gpu, replace(wish, tensor_parallel=size)) for size in (1, 2, 4, 8)]
    for fewer, more in pairwise(plans):
        assert more.weights_bytes < fewer.weights_bytes
        assert more.kv.tokens >= fewer.kv.tokens
        assert more.fits >= fewer.fits


@given(shape=shapes, gpu=gpus, wish=wishes(), longer=contexts)
def test_longer_contexts_never_have_room_for_more_sequences(
    shape: ModelShape, gpu: Gpu, wish: Wish, longer: int
) -> None:
    short, long = sorted((wish.max_model_len or 256, longer))
    some = plan_memory(shape, gpu, replace(wish, max_model_len=short)).kv
    few = plan_memory(shape, gpu, replace(wish, max_model_len=long)).kv
    assert few.sequences <= some.sequences
    assert few.admitted <= some.admitted
    assert few.fits <= some.fits


@given(shape=shapes, gpu=gpus, wish=wishes())
def test_the_largest_context_fits_and_no_longer_one_does(shape: ModelShape, gpu: Gpu, wish: Wish) -> None:
    largest = plan_memory(shape, gpu, wish).kv.largest_context
    if largest:
        assert plan_memory(shape, gpu, replace(wish, max_model_len=largest)).kv.fits
    if largest < shape.max_context:
        assert not plan_memory(shape, gpu, replace(wish, max_model_len=largest + 1)).kv.fits


@given(shape=shapes, gpu=gpus, wish=wishes())
def test_what_is_planned_fits_into_the_gpu(shape: ModelShape, gpu: Gpu, wish: Wish) -> None:
    plan = plan_memory(shape, gpu, wish)
    if plan.weights_fit:
        share = wish.gpu_memory_utilization or GPU_MEMORY_UTILIZATION
        assert plan.weights_bytes + plan.overhead_bytes + plan.kv_bytes == int(gpu.usable_bytes * share)
        assert plan.kv.admitted <= plan.kv.concurrency
        assert plan.kv.admitted <= plan.kv.sequences
