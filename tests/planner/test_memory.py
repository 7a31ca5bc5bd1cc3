"""The planner's numbers against vLLM's own, as logs show them."""

from dataclasses import replace

import pytest

from gptoss_runtime.engine_options import (
    EngineOptions,
    KvCacheDtype,
    MoeBackend,
    PerformanceMode,
    Speculation,
    SpeculativeMethod,
)
from gptoss_runtime.model.catalog import GPT_OSS_20B, GPT_OSS_120B, ModelShape, checkpoint_bytes
from gptoss_runtime.model.gpus import GIB, GPUS, GpuType, Kernel
from gptoss_runtime.model.kv_cache import kv_layout
from gptoss_runtime.model.memory import MemoryPlan, Wish, batched_tokens, overhead_bytes, plan_cpu, plan_memory
from gptoss_runtime.model.stages import stages_of
from gptoss_runtime.model.weights import weights_of_stages


TINY = ModelShape(
    name="tiny",
    layers=2,
    experts=4,
    experts_per_token=2,
    hidden=64,
    intermediate=64,
    heads=8,
    kv_heads=2,
    head_dim=32,
    vocab=201088,
    sliding_window=128,
    max_context=131072,
    mxfp4_experts=False,
)
H100, A100, L4 = GPUS[GpuType.H100], GPUS[GpuType.A100_80], GPUS[GpuType.L4]
STEADY = EngineOptions(max_num_batched_tokens=2048)


def weights(shape: ModelShape, kernel: Kernel, size: int) -> float:
    """Return GiB of one GPU."""
    stages = weights_of_stages(shape, kernel, tensor_parallel=size, pipeline_parallel=1, expert_parallel=False)
    return stages[0] / GIB


def test_weights_are_those_of_logs() -> None:
    # vllm#23278: "Model loading took 65.9651 GiB"; vllm#33155: "64.38 GiB"; both gpt-oss-120b on one H100.
    assert weights(GPT_OSS_120B, Kernel.MARLIN, 1) == pytest.approx(65.9651, rel=0.002)
    assert weights(GPT_OSS_120B, Kernel.TRITON, 1) == pytest.approx(64.38, rel=0.002)


@pytest.mark.parametrize(
    ("kernel", "of_120b"),
    [
        (Kernel.TRITON, [64.35, 32.9, 17.1, 8.6]),
        (Kernel.MARLIN, [65.90, 34.3, 17.2, 8.6]),
        (Kernel.TRTLLM, [65.90, 34.3, 17.2, 8.6]),
        (Kernel.ROCM, [68.6, 34.3, 17.2, 11.3]),
        (Kernel.CUTLASS, [63.3, 33.0, 16.5, 8.3]),
    ],
)
def test_padding_is_that_of_each_kernel(kernel: Kernel, of_120b: list[float]) -> None:
    assert [weights(GPT_OSS_120B, kernel, size) for size in (1, 2, 4, 8)] == pytest.approx(of_120b, abs=0.06)


@pytest.mark.parametrize("kernel", list(Kernel))
def test_weights_of_16_bits_are_those_of_the_checkpoint_for_every_kernel(kernel: Kernel) -> None:
    shape = replace(GPT_OSS_20B, mxfp4_experts=False)
    (whole,) = weights_of_stages(shape, kernel, tensor_parallel=1, pipeline_parallel=1, expert_parallel=False)
    assert whole == checkpoint_bytes(shape)


def test_free_memory_is_near_that_of_logs() -> None:
    """Two logs of 2025, which the overhead was fitted to; the second one's share of sampling differs."""
    seqs = Wish(max_num_seqs=1024)
    eager = replace(seqs.engine, enforce_eager=True, moe_backend=MoeBackend.MARLIN)
    # vllm#23278: "Available KV cache memory: -2.14 GiB", when graphs were not counted.
    early = plan_memory(GPT_OSS_120B, H100, replace(seqs, gpu_memory_utilization=0.9, engine=eager))
    free = H100.usable_bytes * 0.9 - early.weights_bytes - early.overhead_bytes
    assert free / GIB == pytest.approx(-2.14, abs=0.5)
    assert (early.kv_bytes, early.weights_fit, early.fits) == (0, False, False)
    # vllm#27508: "Available KV cache memory: 1.71 GiB", with steps of 1024 tokens.
    engine = EngineOptions(max_num_batched_tokens=1024)
    late = plan_memory(GPT_OSS_120B, H100, replace(seqs, gpu_memory_utilization=0.95, engine=engine))
    assert late.kv_bytes / GIB == pytest.approx(1.71, abs=1.0)
    assert (late.weights_fit, late.fits) == (True, False)


def test_blocks_are_those_of_vllm_on_a_cpu() -> None:
    """Logged for the tiny model, 1 GiB: `Maximum concurrency for 2,048 tokens per request: 992.97x`."""
    plan = plan_cpu(TINY, GIB, Wish(max_model_len=2048))
    assert plan.blocks == 32768
    assert plan.concurrency == 32768 / (16 + 17)
    assert f"{plan.concurrency:.2f}" == "992.97"
    assert plan.tokens == 2033601


def test_two_processes_on_a_cpu_have_half_the_heads_and_a_longer_step_each() -> None:
    plan = plan_cpu(TINY, GIB, Wish(max_model_len=131072, tensor_parallel=2))
    assert plan.blocks == 65536
    assert plan.concurrency == 65536 / (1024 + (127 + 4096 + 127) // 128 + 1)


@pytest.mark.parametrize(("shape", "block_bytes"), [(GPT_OSS_120B, 589824), (GPT_OSS_20B, 393216)])
def test_a_block_holds_half_of_the_layers(shape: ModelShape, block_bytes: int) -> None:
    def size(**changes: int) -> int:
        given = {"tensor_parallel": 1, "pipeline_parallel": 1, "block_tokens": 16, "in_flight_tokens": 2048, **changes}
        return max(kv_layout(shape, fp8=False, **given).bytes_per_block)

    assert size() == block_bytes
    assert size(tensor_parallel=8) == block_bytes // 8
    assert size(pipeline_parallel=2) == block_bytes // 2
    assert size(block_tokens=64) == block_bytes * 4
    # A draft model's layer is padded to the same number in the other group.
    assert size(draft_layers=1) == block_bytes + 2 * 8 * 64 * 2 * 16


def test_fp8_has_room_for_twice_the_blocks() -> None:
    plain = plan_memory(GPT_OSS_20B, L4, Wish())
    fp8 = plan_memory(GPT_OSS_20B, L4, Wish(engine=EngineOptions(kv_cache_dtype=KvCacheDtype.FP8)))
    assert fp8.kv_bytes == plain.kv_bytes
    assert fp8.kv.blocks in {2 * plain.kv.blocks, 2 * plain.kv.blocks + 1}


def test_a_few_layers_more_of_one_kind_make_more_groups_where_there_are_few_layers() -> None:
    layout = kv_layout(
        TINY,
        tensor_parallel=1,
        pipeline_parallel=1,
        block_tokens=16,
        in_flight_tokens=16,
        fp8=False,
        draft_layers=1,
    )
    assert (layout.full_groups, layout.sliding_groups) == (2, 1)


def test_a_model_without_a_window_has_one_group() -> None:
    shape = replace(TINY, sliding_window=None)
    plan = plan_cpu(shape, GIB, Wish(max_model_len=2048))
    assert (plan.blocks, plan.concurrency) == (16384, 1024)


def test_stages_share_out_layers_as_vllm_does() -> None:
    assert [len(stage) for stage in stages_of(36, 8)] == [4, 4, 4, 5, 5, 5, 5, 4]
    assert [len(stage) for stage in stages_of(24, 5)] == [5, 5, 5, 5, 4]


def test_stages_without_layers_take_nothing() -> None:
    plan = plan_cpu(TINY, GIB, Wish(max_model_len=2048, engine=EngineOptions(pipeline_parallel_size=4)))
    assert plan.blocks == 32768


def test_stages_hold_their_own_layers_and_tables() -> None:
    first, last = weights_of_stages(
        GPT_OSS_120B, Kernel.MARLIN, tensor_parallel=1, pipeline_parallel=2, expert_parallel=False
    )
    (whole,) = weights_of_stages(
        GPT_OSS_120B, Kernel.MARLIN, tensor_parallel=1, pipeline_parallel=1, expert_parallel=False
    )
    assert first + last == whole
    assert last - first == 2880 * 2


def test_the_gpu_with_the_least_room_decides_in_a_pipeline() -> None:
    engine = replace(STEADY, pipeline_parallel_size=8)
    stages = weights_of_stages(
        GPT_OSS_120B, Kernel.MARLIN, tensor_parallel=1, pipeline_parallel=8, expert_parallel=False
    )
    assert min(stages) < max(stages)
    wish = Wish(max_model_len=1024, gpu_memory_utilization=1.0, engine=engine)
    plan = plan_memory(GPT_OSS_120B, L4, wish)
    assert plan.weights_bytes == max(stages)
    assert plan.kv_bytes == L4.usable_bytes - max(stages) - plan.overhead_bytes
    layout = kv_layout(
        GPT_OSS_120B,
        tensor_parallel=1,
        pipeline_parallel=8,
        block_tokens=16,
        in_flight_tokens=0,
        fp8=False,
    )
    free = [L4.usable_bytes - stage - plan.overhead_bytes for stage in stages]
    assert plan.kv.blocks == min(room // size for room, size in zip(free, layout.bytes_per_block, strict=True))
    # Room for the weights of all stages but the largest.
    short = replace(L4, memory_bytes=L4.memory_bytes - plan.kv_bytes)
    assert not plan_memory(GPT_OSS_120B, short, wish).weights_fit
    given = replace(engine, kv_cache_memory_bytes=GIB)
    assert plan_memory(GPT_OSS_120B, L4, replace(wish, engine=given)).kv_bytes == GIB


def test_one_block_more_than_a_request_takes_is_needed_since_vllm_keeps_one() -> None:
    layout = kv_layout(
        GPT_OSS_20B,
        tensor_parallel=1,
        pipeline_parallel=1,
        block_tokens=16,
        in_flight_tokens=2 * 2048,
        fp8=False,
    )
    blocks = layout.blocks_of_request(8192)

    def plan(number: int) -> MemoryPlan:
        engine = replace(STEADY, kv_cache_memory_bytes=number * layout.bytes_per_block[0])
        return plan_memory(GPT_OSS_20B, L4, Wish(max_model_len=8192, engine=engine))

    assert (plan(blocks).kv.concurrency, plan(blocks).fits) == (1.0, False)
    assert (plan(blocks + 1).kv.admitted, plan(blocks + 1).fits) == (1, True)


def test_whole_experts_take_no_more_than_their_parts() -> None:
    for size in (2, 4, 8):
        (parts,) = weights_of_stages(
            GPT_OSS_120B, Kernel.MARLIN, tensor_parallel=size, pipeline_parallel=1, expert_parallel=False
        )
        (whole,) = weights_of_stages(
            GPT_OSS_120B, Kernel.MARLIN, tensor_parallel=size, pipeline_parallel=1, expert_parallel=True
        )
        assert whole <= parts


def test_steps_are_as_long_as_vllm_makes_them_by_gpu() -> None:
    wish = Wish()
    by_type = {t: batched_tokens(GPT_OSS_20B, GPUS[t], wish) for t in (GpuType.L4, GpuType.A100_80, GpuType.H100)}
    assert by_type == {GpuType.L4: 2048, GpuType.A100_80: 2048, GpuType.H100: 8192}
    assert batched_tokens(GPT_OSS_20B, GPUS[GpuType.B200], wish) == 16384
    assert batched_tokens(GPT_OSS_20B, L4, Wish(max_num_seqs=2, max_model_len=512)) == 1024
    throughput = EngineOptions(performance_mode=PerformanceMode.THROUGHPUT)
    assert batched_tokens(GPT_OSS_20B, L4, Wish(engine=throughput)) == 4096


def test_fewer_graphs_take_less() -> None:
    many, few, none = (
        overhead_bytes(GPT_OSS_20B, L4, Wish(engine=replace(STEADY, **changes)))
        for changes in ({}, {"max_cudagraph_capture_size": 256}, {"enforce_eager": True})
    )
    assert many - few == GIB // 2 - GIB // 2 * 256 // 1024
    assert none < few


def test_memory_for_keys_and_values_may_be_given() -> None:
    engine = EngineOptions(kv_cache_memory_bytes=2 * GIB)
    plan = plan_memory(GPT_OSS_20B, L4, Wish(engine=engine))
    assert (plan.kv_bytes, plan.weights_fit) == (2 * GIB, True)
    assert plan.kv.blocks == 2 * GIB // 393216
    room = L4.usable_bytes - plan.weights_bytes - plan.overhead_bytes
    for most, fits in ((room, True), (room + 1, False)):
        full = replace(engine, kv_cache_memory_bytes=most)
        assert plan_memory(GPT_OSS_20B, L4, Wish(engine=full)).weights_fit is fits


def test_speculation_takes_memory_for_its_draft_and_ngram_none() -> None:
    plain = plan_memory(GPT_OSS_20B, A100, Wish())
    eagle = Speculation(method=SpeculativeMethod.EAGLE3, model="a/draft", tokens=3)
    drafted = plan_memory(GPT_OSS_20B, A100, Wish(engine=EngineOptions(speculation=eagle)))
    assert drafted.weights_bytes > plain.weights_bytes + GIB
    assert drafted.kv.tokens < plain.kv.tokens
    ngram = Speculation(method=SpeculativeMethod.NGRAM, tokens=3)
    prompt = plan_memory(GPT_OSS_20B, A100, Wish(engine=EngineOptions(speculation=ngram)))
    assert prompt.kv.blocks == plain.kv.blocks
    # Without asynchronous steps fewer tokens are in flight.
    assert prompt.kv.concurrency > plain.kv.concurrency
