"""What a replica's server is told of the engine, for each field of the spec."""

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_operator.api.engine import EngineSpec
from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.core.render.engine import engine_options
from gptoss_operator.core.render.orders import server_orders
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
from gptoss_runtime.orders import ServerOrders
from gptoss_runtime.server.combinations import refuse_combinations
from gptoss_runtime.server.flags import refuse_options


EVERYTHING: dict[str, Any] = {
    "pipelineParallel": 2,
    "expertParallel": True,
    "kvCacheDtype": "fp8",
    "kvCacheMemory": "20Gi",
    "maxNumBatchedTokens": 8192,
    "maxQueuedRequests": 256,
    "maxQueuedTokens": 200000,
    "schedulingPolicy": "priority",
    "prefixCaching": False,
    "asyncScheduling": True,
    "streamInterval": 20,
    "quantization": "mxfp4",
    "moeBackend": "flashinfer_trtllm",
    "mxfp8Activations": True,
    "speculation": {"method": "eagle3", "model": "me/draft", "tokens": 2},
    "optimizationLevel": 1,
    "maxCudagraphCaptureSize": 256,
    "enforceEager": False,
    "performanceMode": "throughput",
    "load": {
        "format": "runai_streamer",
        "options": {"concurrency": "16", "distributed": "true", "memory_limit": "-1"},
    },
}


def options_of(**engine: Any) -> EngineOptions:  # noqa: ANN401 - a raw spec
    return engine_options(EngineSpec.model_validate(engine))


def test_an_empty_engine_leaves_everything_to_vllm() -> None:
    assert options_of() == EngineOptions()


def test_every_option_reaches_the_server() -> None:
    options = options_of(**EVERYTHING)
    assert options == EngineOptions(
        pipeline_parallel_size=2,
        expert_parallel=True,
        kv_cache_dtype=KvCacheDtype.FP8,
        kv_cache_memory_bytes=20 * 2**30,
        max_num_batched_tokens=8192,
        max_queued_requests=256,
        max_queued_tokens=200000,
        scheduling_policy=SchedulingPolicy.PRIORITY,
        prefix_caching=False,
        async_scheduling=True,
        stream_interval=20,
        quantization="mxfp4",
        moe_backend=MoeBackend.FLASHINFER_TRTLLM,
        mxfp8_activations=True,
        speculation=Speculation(method=SpeculativeMethod.EAGLE3, model="me/draft", tokens=2),
        optimization_level=1,
        max_cudagraph_capture_size=256,
        enforce_eager=False,
        performance_mode=PerformanceMode.THROUGHPUT,
        load_format=LoadFormat.RUNAI_STREAMER,
        loader_options={"concurrency": 16, "distributed": True, "memory_limit": -1},
    )
    assert options_of(load={"strategy": "prefetch"}).load_strategy is LoadStrategy.PREFETCH
    assert options_of(enforceEager=True).enforce_eager


def test_no_option_is_without_a_field() -> None:
    changed = [options_of(**EVERYTHING), options_of(enforceEager=True), options_of(load={"strategy": "lazy"})]
    untouched = [
        option.name
        for option in fields(EngineOptions)
        if all(getattr(options, option.name) == getattr(EngineOptions(), option.name) for options in changed)
    ]
    assert untouched == []


@pytest.mark.parametrize(
    ("text", "value"),
    [("16", 16), ("-1", -1), ("true", True), ("false", False), ("True", "True"), ("1.5", "1.5"), ("", "")],
)
def test_numbers_and_true_and_false_of_loaders_are_understood(text: str, value: str | int | bool) -> None:  # noqa: FBT001
    (understood,) = options_of(load={"options": {"x": text}}).loader_options.values()
    assert understood == value
    assert type(understood) is type(value)


def test_the_server_accepts_what_it_is_told_and_reads_it_back() -> None:
    spec = GptOssSpec.model_validate({"model": {"name": "gpt-oss-20b"}, "engine": EVERYTHING})
    orders = server_orders("chat", spec, 4)
    assert ServerOrders.decode(orders.encode()) == orders
    assert refuse_options(orders.engine) == ()
    assert refuse_combinations(orders, cpu=False) == ()


@given(st.text(max_size=20))
def test_any_loader_option_becomes_something_that_json_can_say(text: str) -> None:
    options = options_of(load={"options": {"x": text}})
    assert refuse_options(options) == ()
