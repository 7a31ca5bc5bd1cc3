from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.engine_options import EngineOptions, KvCacheDtype
from gptoss_runtime.model.advice import ROOM_SEQUENCES, advise, recommend_tensor_parallel
from gptoss_runtime.model.catalog import GPT_OSS_20B, GPT_OSS_120B, SHAPES, ModelShape
from gptoss_runtime.model.gpu_labels import gpu_of_labels
from gptoss_runtime.model.gpus import GIB, GPUS, Gpu, GpuType, gpu_of_memory
from gptoss_runtime.model.memory import Wish


FP8 = EngineOptions(kv_cache_dtype=KvCacheDtype.FP8)


@pytest.mark.parametrize(
    ("shape", "type_", "wish", "said"),
    [
        (
            GPT_OSS_120B,
            GpuType.A100_80,
            Wish(max_model_len=32768),
            (
                "gpt-oss-120b needs 65.9 GiB on one A100-80GB and leaves room for 3 sequences of 32768 tokens: "
                "use tensorParallel 2 or maxModelLen 8192"
            ),
        ),
        (
            GPT_OSS_120B,
            GpuType.A100_80,
            Wish(max_model_len=32768, tensor_parallel=2),
            "gpt-oss-120b needs 34.3 GiB on each of 2 A100-80GB and leaves room for 62 sequences of 32768 tokens",
        ),
        (
            GPT_OSS_20B,
            GpuType.H200,
            Wish(),
            "gpt-oss-20b needs 13.4 GiB on one H200 and leaves room for 37 sequences of 131072 tokens",
        ),
    ],
)
def test_says_what_fits(shape: ModelShape, type_: GpuType, wish: Wish, said: str) -> None:
    advice = advise(shape, GPUS[type_], wish)
    assert (advice.fits, advice.reason) == (True, said)


@pytest.mark.parametrize(
    ("shape", "type_", "wish", "said"),
    [
        (
            GPT_OSS_120B,
            GpuType.A100_80,
            Wish(),
            "leaves 4.5 GiB, too little for one sequence of 131072 tokens: use tensorParallel 2 or maxModelLen 65536",
        ),
        (GPT_OSS_120B, GpuType.L4, Wish(), "which is more than vLLM may take there: use tensorParallel 8"),
        (
            GPT_OSS_20B,
            GpuType.L4,
            Wish(tensor_parallel=8, engine=EngineOptions(kv_cache_memory_bytes=GIB // 100)),
            "leaves 0.0 GiB, too little for one sequence of 131072 tokens: use maxModelLen 1024",
        ),
        (
            GPT_OSS_120B,
            GpuType.L4,
            Wish(tensor_parallel=8, gpu_memory_utilization=0.3),
            "take GPUs with more memory, or a smaller model",
        ),
        (GPT_OSS_20B, GpuType.L4, Wish(tensor_parallel=3), "tensorParallel 3: gpt-oss-20b has 8 key-value heads"),
        (GPT_OSS_20B, GpuType.L4, Wish(tensor_parallel=16), "use one of 1, 2, 4, 8"),
        (GPT_OSS_20B, GpuType.A100_80, Wish(engine=FP8), "kvCacheDtype fp8 needs compute capability 8.9"),
    ],
)
def test_says_what_does_not_fit_and_what_to_do(shape: ModelShape, type_: GpuType, wish: Wish, said: str) -> None:
    advice = advise(shape, GPUS[type_], wish)
    assert not advice.fits
    assert said in advice.reason


@pytest.mark.parametrize("type_", [GpuType.L4, GpuType.H100, GpuType.MI300X])
def test_fp8_is_for_newer_gpus(type_: GpuType) -> None:
    assert advise(GPT_OSS_20B, GPUS[type_], Wish(engine=FP8)).fits


@pytest.mark.parametrize(("product", "capability"), [("Tesla-V100-SXM2-32GB", "7.0"), ("Tesla-T4", "7.5")])
def test_old_gpus_are_refused_in_words(product: str, capability: str) -> None:
    gpu = gpu_of_labels({"nvidia.com/gpu.product": product, "nvidia.com/gpu.memory": "32768"})
    assert gpu is not None
    for reason in (advise(GPT_OSS_20B, gpu, Wish()).reason, recommend_tensor_parallel(GPT_OSS_20B, gpu, Wish()).reason):
        assert f"has compute capability {capability}: vLLM runs gpt-oss from 8.0 on" in reason


@pytest.mark.parametrize(
    ("shape", "type_", "size"),
    [
        (GPT_OSS_120B, GpuType.L4, 8),
        (GPT_OSS_120B, GpuType.A100_40, 4),
        (GPT_OSS_120B, GpuType.L40S, 4),
        (GPT_OSS_120B, GpuType.A100_80, 2),
        (GPT_OSS_120B, GpuType.H100, 2),
        (GPT_OSS_120B, GpuType.RTX_PRO_6000, 1),
        (GPT_OSS_120B, GpuType.H200, 1),
        (GPT_OSS_120B, GpuType.B200, 1),
        (GPT_OSS_120B, GpuType.MI300X, 1),
        (GPT_OSS_20B, GpuType.A100_40, 1),
        (GPT_OSS_20B, GpuType.L40S, 1),
        (GPT_OSS_20B, GpuType.H100, 1),
    ],
)
def test_recommends_the_fewest_gpus_with_room(shape: ModelShape, type_: GpuType, size: int) -> None:
    assert recommend_tensor_parallel(shape, GPUS[type_], Wish()).tensor_parallel == size


def test_a_shorter_context_needs_fewer_gpus() -> None:
    assert recommend_tensor_parallel(GPT_OSS_20B, GPUS[GpuType.L4], Wish()).tensor_parallel == 2
    assert recommend_tensor_parallel(GPT_OSS_20B, GPUS[GpuType.L4], Wish(max_model_len=16384)).tensor_parallel == 1


def test_takes_the_smallest_that_fits_where_no_node_has_more() -> None:
    best = recommend_tensor_parallel(GPT_OSS_20B, GPUS[GpuType.L4], Wish(), gpus_per_node=1)
    assert best.tensor_parallel == 1
    assert "room for 1 sequence of 131072 tokens" in best.reason
    assert "use tensorParallel 2 or maxModelLen 16384" in best.reason


def test_says_why_no_number_will_do() -> None:
    best = recommend_tensor_parallel(GPT_OSS_120B, GPUS[GpuType.L4], Wish(), gpus_per_node=4)
    assert best.tensor_parallel is None
    assert "use tensorParallel 8 (no known node has more than 4 GPUs)" in best.reason
    small = recommend_tensor_parallel(GPT_OSS_120B, gpu_of_memory(8 * GIB, amd=False), Wish())
    assert small.tensor_parallel is None
    assert small.reason.endswith("take GPUs with more memory, or a smaller model")
    stages = Wish(engine=EngineOptions(pipeline_parallel_size=4))
    few = recommend_tensor_parallel(GPT_OSS_120B, GPUS[GpuType.H100], stages, gpus_per_node=2)
    assert few.tensor_parallel is None
    assert "lower spec.engine.pipelineParallel" in few.reason


@pytest.mark.parametrize("product", ["NVIDIA-B200-MIG-1g.23gb", "NVIDIA-H20-MIG-2g.24gb"])
def test_slices_of_gpus_share_no_model(product: str) -> None:
    gpu = gpu_of_labels({"nvidia.com/gpu.product": product, "nvidia.com/gpu.memory": "21760"})
    assert gpu is not None
    two = advise(GPT_OSS_20B, gpu, Wish(tensor_parallel=2))
    assert (two.fits, "slices of GPUs have no way to one another; use tensorParallel 1" in two.reason) == (False, True)
    short = Wish(max_model_len=65536)
    assert recommend_tensor_parallel(GPT_OSS_20B, gpu, short, gpus_per_node=7).tensor_parallel == 1
    none = recommend_tensor_parallel(GPT_OSS_20B, gpu, Wish(), gpus_per_node=7)
    assert none.tensor_parallel is None
    assert none.reason.endswith("too little for one sequence of 131072 tokens: use maxModelLen 65536")


@given(
    shape=st.sampled_from(sorted(SHAPES.values(), key=lambda shape: shape.name)),
    gpu=st.sampled_from(list(GPUS.values())),
    context=st.integers(256, 131072),
    seqs=st.integers(1, 512),
    per_node=st.sampled_from([None, 1, 2, 4, 8]),
)
def test_what_is_recommended_fits(shape: ModelShape, gpu: Gpu, context: int, seqs: int, per_node: int | None) -> None:
    wish = Wish(max_model_len=context, max_num_seqs=seqs)
    best = recommend_tensor_parallel(shape, gpu, wish, gpus_per_node=per_node)
    sizes = [size for size in (1, 2, 4, 8) if per_node is None or size <= per_node]
    advices = {size: advise(shape, gpu, replace(wish, tensor_parallel=size)) for size in sizes}
    if best.tensor_parallel is None:
        assert not any(advice.fits for advice in advices.values())
        return
    assert advices[best.tensor_parallel].fits
    assert best.reason == advices[best.tensor_parallel].reason
    plan = advices[best.tensor_parallel].plan
    assert plan is not None
    if context <= 32768 and plan.kv.sequences < ROOM_SEQUENCES:
        assert all(advice.plan and advice.plan.kv.sequences < ROOM_SEQUENCES for advice in advices.values())
