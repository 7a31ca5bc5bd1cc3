"""Engine options: what becomes of them, and what is wrong with them. vLLM's own parser is asked in e2e/vllm."""

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.engine_options import (
    EngineOptions,
    KvCacheDtype,
    LoadFormat,
    LoadStrategy,
    MoeBackend,
    PerformanceMode,
    SchedulingPolicy,
    Speculation,
    SpeculativeMethod,
)
from gptoss_runtime.orders import OWNED_FLAGS
from gptoss_runtime.server.combinations import refuse_combinations
from gptoss_runtime.server.flags import engine_arguments, left_out, refuse_options
from tests.runtime.harness import an_order


EAGLE = Speculation(method=SpeculativeMethod.EAGLE3, model="me/draft", tokens=3)
NGRAM = Speculation(method=SpeculativeMethod.NGRAM, tokens=4)


def a_speculation(**changes: object) -> Speculation:
    return Speculation(**{"method": "eagle3", "model": "me/draft", "tokens": 3, **changes})  # type: ignore[arg-type]


def an_engine(**options: object) -> EngineOptions:
    return EngineOptions(**options)  # type: ignore[arg-type]


def test_nothing_said_is_nothing_given() -> None:
    assert engine_arguments(EngineOptions(), cpu=False) == ()


def test_a_cpu_compiles_nothing() -> None:
    assert engine_arguments(EngineOptions(), cpu=True) == ("--enforce-eager",)
    assert engine_arguments(EngineOptions(enforce_eager=True), cpu=True) == ("--enforce-eager",)


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({"pipeline_parallel_size": 2}, ["--pipeline-parallel-size", "2"]),
        ({"expert_parallel": True}, ["--enable-expert-parallel"]),
        ({"kv_cache_dtype": KvCacheDtype.FP8}, ["--kv-cache-dtype", "fp8"]),
        ({"kv_cache_memory_bytes": 2**34}, ["--kv-cache-memory-bytes", "17179869184"]),
        ({"max_num_batched_tokens": 8192}, ["--max-num-batched-tokens", "8192"]),
        ({"max_queued_requests": 256}, ["--max-num-queued-reqs", "256"]),
        ({"max_queued_tokens": 100000}, ["--max-num-queued-tokens", "100000"]),
        ({"scheduling_policy": SchedulingPolicy.PRIORITY}, ["--scheduling-policy", "priority"]),
        ({"prefix_caching": True}, ["--enable-prefix-caching"]),
        ({"prefix_caching": False}, ["--no-enable-prefix-caching"]),
        ({"async_scheduling": True}, ["--async-scheduling"]),
        ({"async_scheduling": False}, ["--no-async-scheduling"]),
        ({"stream_interval": 20}, ["--stream-interval", "20"]),
        ({"quantization": "mxfp4"}, ["--quantization", "mxfp4"]),
        ({"moe_backend": MoeBackend.TRITON_UNFUSED}, ["--moe-backend", "triton_unfused"]),
        ({"mxfp8_activations": True}, ["--quantization-config", '{"moe": {"activation": "mxfp8"}}']),
        ({"optimization_level": 0}, ["--optimization-level", "0"]),
        ({"max_cudagraph_capture_size": 256}, ["--max-cudagraph-capture-size", "256"]),
        ({"enforce_eager": True}, ["--enforce-eager"]),
        ({"performance_mode": PerformanceMode.THROUGHPUT}, ["--performance-mode", "throughput"]),
        ({"load_format": LoadFormat.RUNAI_STREAMER}, ["--load-format", "runai_streamer"]),
        ({"load_strategy": LoadStrategy.PREFETCH}, ["--safetensors-load-strategy", "prefetch"]),
    ],
)
def test_each_option_has_its_argument(options: dict[str, object], arguments: list[str]) -> None:
    assert list(engine_arguments(an_engine(**options), cpu=False)) == arguments


def test_eagle3_brings_a_draft_model_on_one_gpu_and_ngram_none() -> None:
    flag, eagle = engine_arguments(EngineOptions(speculation=EAGLE), cpu=False)
    assert flag == "--speculative-config"
    assert json.loads(eagle) == {
        "method": "eagle3",
        "model": "me/draft",
        "num_speculative_tokens": 3,
        "draft_tensor_parallel_size": 1,
    }
    _, ngram = engine_arguments(EngineOptions(speculation=NGRAM), cpu=False)
    assert json.loads(ngram) == {"method": "ngram", "num_speculative_tokens": 4}


def test_options_of_the_load_format_keep_their_kinds() -> None:
    options = EngineOptions(
        load_format=LoadFormat.RUNAI_STREAMER, loader_options={"concurrency": 16, "distributed": True}
    )
    arguments = engine_arguments(options, cpu=False)
    value = arguments[arguments.index("--model-loader-extra-config") + 1]
    assert json.loads(value) == {"concurrency": 16, "distributed": True}


def test_what_means_nothing_on_a_cpu_is_left_out_with_words() -> None:
    options = EngineOptions(async_scheduling=True, optimization_level=2, stream_interval=5)
    assert engine_arguments(options, cpu=True) == ("--stream-interval", "5", "--enforce-eager")
    (words,) = left_out(options, cpu=True)
    assert "spec.engine.optimizationLevel, spec.engine.asyncScheduling" in words
    assert left_out(options, cpu=False) == ()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pipeline_parallel_size": 9}, "spec.engine.pipelineParallel to a whole number from 1 to 8"),
        ({"pipeline_parallel_size": None}, "spec.engine.pipelineParallel"),
        ({"kv_cache_memory_bytes": "16Gi"}, "spec.engine.kvCacheMemory"),
        ({"max_num_batched_tokens": True}, "spec.engine.maxNumBatchedTokens"),
        ({"max_queued_requests": 1.5}, "spec.engine.maxQueuedRequests"),
        ({"max_queued_tokens": 0}, "spec.engine.maxQueuedTokens"),
        ({"stream_interval": [1]}, "spec.engine.streamInterval"),
        ({"optimization_level": 4}, "spec.engine.optimizationLevel to a whole number from 0 to 3"),
        ({"max_cudagraph_capture_size": -1}, "spec.engine.maxCudagraphCaptureSize"),
        ({"kv_cache_dtype": "int8"}, "spec.engine.kvCacheDtype to one of auto, bfloat16, fp8"),
        ({"scheduling_policy": ["fcfs"]}, "spec.engine.schedulingPolicy"),
        ({"moe_backend": "cutlass"}, "spec.engine.moeBackend"),
        ({"performance_mode": 1}, "spec.engine.performanceMode"),
        ({"load_format": "pickle"}, "spec.engine.load.format"),
        ({"load_strategy": "hasty"}, "spec.engine.load.strategy"),
        ({"expert_parallel": "yes"}, "spec.engine.expertParallel to true or false"),
        ({"prefix_caching": 1}, "spec.engine.prefixCaching"),
        ({"async_scheduling": "no"}, "spec.engine.asyncScheduling"),
        ({"mxfp8_activations": 0}, "spec.engine.mxfp8Activations"),
        ({"enforce_eager": []}, "spec.engine.enforceEager"),
        ({"quantization": "--port"}, "spec.engine.quantization"),
        ({"quantization": None}, "spec.engine.quantization"),
        ({"speculation": "ngram"}, "spec.engine"),
        ({"speculation": a_speculation(model="")}, "spec.engine.speculation.model"),
        ({"speculation": a_speculation(method="ngram")}, "spec.engine.speculation.model"),
        ({"speculation": a_speculation(tokens=0)}, "spec.engine.speculation.tokens"),
        ({"speculation": a_speculation(method="medusa")}, "spec.engine.speculation.method"),
        ({"speculation": a_speculation(model=7)}, "spec.engine.speculation.model"),
        ({"loader_options": None}, "spec.engine.load.options"),
        ({"loader_options": {"concurrency": 1.5}}, "spec.engine.load.options.concurrency"),
    ],
)
def test_a_wrong_option_is_refused_by_the_name_of_its_field(options: dict[str, object], words: str) -> None:
    (refusal,) = refuse_options(an_engine(**options))
    assert words in refusal


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ({"max_num_batched_tokens": 64}, "raise spec.engine.maxNumBatchedTokens or lower spec.engine.maxNumSeqs"),
        ({"max_queued_requests": 64}, "set it to at least 128"),
        ({"kv_cache_memory_bytes": 1}, "not both"),
        ({"enforce_eager": True, "max_cudagraph_capture_size": 8}, "spec.engine.enforceEager"),
        ({"enforce_eager": True, "optimization_level": 2}, "spec.engine.enforceEager"),
        ({"speculation": NGRAM, "async_scheduling": True}, "spec.engine.asyncScheduling"),
        ({"mxfp8_activations": True, "moe_backend": "marlin"}, "marlin computes with 16-bit activations"),
        ({"load_format": "runai_streamer", "load_strategy": "prefetch"}, "spec.engine.load.strategy"),
        ({"loader_options": {"concurrency": 16}}, "auto has no option concurrency; it understands enable_multithread"),
        ({"load_format": "dummy", "loader_options": {"x": 1}}, "dummy has no option x; it has none"),
        ({"load_format": "runai_streamer", "loader_options": {"concurrency": True}}, "to a whole number"),
        ({"load_format": "sharded_state", "loader_options": {"pattern": 1}}, "to a text"),
        (
            {"load_strategy": "eager", "loader_options": {"enable_multithread_load": True}},
            "leave out spec.engine.load.strategy or enable_multithread_load",
        ),
    ],
)
def test_what_cannot_be_together_is_refused(engine: dict[str, object], words: str) -> None:
    orders = an_order("/m", max_num_seqs=128, gpu_memory_utilization=0.9, engine=an_engine(**engine))
    (refusal,) = refuse_combinations(orders, cpu=False)
    assert words in refusal


@pytest.mark.parametrize(
    "engine",
    [
        {"max_num_batched_tokens": 128, "max_queued_requests": 128},
        {"enforce_eager": True, "optimization_level": 0},
        {"speculation": EAGLE, "async_scheduling": True},
        {"speculation": NGRAM, "async_scheduling": False},
        {"mxfp8_activations": True},
        {"mxfp8_activations": True, "moe_backend": "flashinfer_trtllm"},
        {"load_format": "safetensors", "load_strategy": "prefetch", "loader_options": {"num_threads": 8}},
        {"load_format": "tensorizer", "loader_options": {"num_readers": 4, "s3_endpoint": "x"}},
    ],
)
def test_what_can_be_together_is_not(engine: dict[str, object]) -> None:
    assert refuse_combinations(an_order("/m", max_num_seqs=128, engine=an_engine(**engine)), cpu=False) == ()


def test_kernels_of_gpus_are_refused_on_a_cpu() -> None:
    orders = an_order("/m", engine=EngineOptions(mxfp8_activations=True, moe_backend=MoeBackend.MARLIN))
    refusals = refuse_combinations(orders, cpu=True)
    assert [field in words for field, words in zip(("mxfp8Activations", "moeBackend"), refusals, strict=True)] == [
        True
    ] * 2


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.lists(st.none()),
    st.dictionaries(st.text(), st.none()),
)


@given(st.dictionaries(st.sampled_from([f.name for f in fields(EngineOptions)]), ANYTHING))
def test_whatever_a_document_holds_is_refused_in_words_or_is_arguments_that_are_ours(
    options: dict[str, object],
) -> None:
    engine = an_engine(**options)
    refusals = refuse_options(engine)
    assert all(isinstance(words, str) and "spec.engine" in words for words in refusals)
    if not refusals:
        assert all(isinstance(words, str) for words in refuse_combinations(an_order("/m", engine=engine), cpu=False))
        flags = [a for a in engine_arguments(engine, cpu=False) if a.startswith("--")]
        assert all(f in OWNED_FLAGS or f.replace("--no-", "--", 1) in OWNED_FLAGS for f in flags)
