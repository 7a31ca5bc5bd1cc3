"""Every typed option, as the installed vLLM understands it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

import pytest

from e2e.shown import shown
from e2e.vllm.parser import Answer, Parsed, parse_all
from e2e.vllm.replica import an_order
from e2e.vllm.room import Room
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
from gptoss_runtime.orders import OWNED_FLAGS, ServerOrders
from gptoss_runtime.server.args import BadOrdersError, ModelDirectory, PodFacts, plan_command


FACTS = PodFacts(model_directory=ModelDirectory(exists=True, has_config=True), environment={})
"""A pod with GPUs: on a CPU, options that only GPUs have are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Options, and what vLLM has to understand."""

    name: str
    options: Mapping[str, Any]
    meant: Mapping[str, Any]
    """vLLM's names and values."""
    orders: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = True
    """Whether vLLM can make its configuration of it on a machine with nothing but the tiny model."""


def enum_cases(option: str, values: type[StrEnum], meant: str) -> list[Case]:
    return [Case(name=f"{option} {value}", options={option: value}, meant={meant: str(value)}) for value in values]


EAGLE = Speculation(method=SpeculativeMethod.EAGLE3, model="/srv/draft", tokens=3)
NGRAM = Speculation(method=SpeculativeMethod.NGRAM, tokens=4)
MXFP8 = {"moe": {"activation": "mxfp8"}}
CASES = (
    Case(name="nothing", options={}, meant={"pipeline_parallel_size": 1, "enable_expert_parallel": False}),
    *enum_cases("kv_cache_dtype", KvCacheDtype, "kv_cache_dtype"),
    *enum_cases("scheduling_policy", SchedulingPolicy, "scheduling_policy"),
    *enum_cases("moe_backend", MoeBackend, "moe_backend"),
    *enum_cases("performance_mode", PerformanceMode, "performance_mode"),
    *enum_cases("load_format", LoadFormat, "load_format"),
    *enum_cases("load_strategy", LoadStrategy, "safetensors_load_strategy"),
    *(
        Case(name=f"optimization_level {n}", options={"optimization_level": n}, meant={"optimization_level": str(n)})
        for n in range(4)
    ),
    Case(
        name="pipeline_parallel_size",
        options={"pipeline_parallel_size": 2},
        meant={"pipeline_parallel_size": 2},
    ),
    Case(name="expert_parallel", options={"expert_parallel": True}, meant={"enable_expert_parallel": True}),
    Case(
        name="kv_cache_memory_bytes",
        options={"kv_cache_memory_bytes": 3 * 2**30},
        meant={"kv_cache_memory_bytes": 3 * 2**30},
    ),
    Case(
        name="max_num_batched_tokens",
        options={"max_num_batched_tokens": 8192},
        meant={"max_num_batched_tokens": 8192},
    ),
    Case(name="max_queued_requests", options={"max_queued_requests": 64}, meant={"max_num_queued_reqs": 64}),
    Case(name="max_queued_tokens", options={"max_queued_tokens": 9000}, meant={"max_num_queued_tokens": 9000}),
    Case(name="prefix_caching", options={"prefix_caching": True}, meant={"enable_prefix_caching": True}),
    Case(name="no prefix_caching", options={"prefix_caching": False}, meant={"enable_prefix_caching": False}),
    Case(name="async_scheduling", options={"async_scheduling": True}, meant={"async_scheduling": True}),
    Case(name="no async_scheduling", options={"async_scheduling": False}, meant={"async_scheduling": False}),
    Case(name="stream_interval", options={"stream_interval": 20}, meant={"stream_interval": 20}),
    Case(
        name="quantization",
        options={"quantization": "gpt_oss_mxfp4"},
        meant={"quantization": "gpt_oss_mxfp4"},
        whole=False,  # the tiny model is not quantised
    ),
    Case(name="mxfp8_activations", options={"mxfp8_activations": True}, meant={"quantization_config": MXFP8}),
    Case(
        name="speculation eagle3",
        options={"speculation": EAGLE},
        meant={"speculative_config": {"method": "eagle3", "model": "/srv/draft", "num_speculative_tokens": 3}},
        whole=False,  # there is no draft model
    ),
    Case(
        name="speculation ngram",
        options={"speculation": NGRAM},
        meant={"speculative_config": {"method": "ngram", "num_speculative_tokens": 4}},
    ),
    Case(
        name="max_cudagraph_capture_size",
        options={"max_cudagraph_capture_size": 256},
        meant={"max_cudagraph_capture_size": 256},
    ),
    Case(name="enforce_eager", options={"enforce_eager": True}, meant={"enforce_eager": True}),
    Case(
        name="loader_options",
        options={"load_format": LoadFormat.RUNAI_STREAMER, "loader_options": {"concurrency": 16, "distributed": True}},
        meant={
            "load_format": "runai_streamer",
            "model_loader_extra_config": {"concurrency": 16, "distributed": True},
        },
    ),
    Case(
        name="the size",
        options={},
        orders={"tensor_parallel_size": 4, "max_model_len": 32768, "max_num_seqs": 7, "gpu_memory_utilization": 0.85},
        meant={
            "model_tag": "/srv",
            "tensor_parallel_size": 4,
            "max_model_len": 32768,
            "max_num_seqs": 7,
            "gpu_memory_utilization": 0.85,
            "served_model_name": ["openai/gpt-oss-20b"],
            "middleware": ["gptoss_runtime.server.middleware.Middleware"],
            "fail_on_environ_validation": True,
            "tool_call_parser": "openai",
        },
    ),
    Case(
        name="all together",
        options={
            "expert_parallel": True,
            "kv_cache_dtype": KvCacheDtype.FP8,
            "kv_cache_memory_bytes": 2**31,
            "max_num_batched_tokens": 4096,
            "max_queued_requests": 100,
            "max_queued_tokens": 100_000,
            "scheduling_policy": SchedulingPolicy.PRIORITY,
            "prefix_caching": False,
            "async_scheduling": False,
            "stream_interval": 5,
            "moe_backend": MoeBackend.FLASHINFER_TRTLLM,
            "mxfp8_activations": True,
            "speculation": NGRAM,
            "optimization_level": 1,
            "max_cudagraph_capture_size": 128,
            "performance_mode": PerformanceMode.THROUGHPUT,
            "load_format": LoadFormat.SAFETENSORS,
            "load_strategy": LoadStrategy.PREFETCH,
        },
        orders={"tensor_parallel_size": 2},
        meant={
            "enable_expert_parallel": True,
            "kv_cache_dtype": "fp8",
            "kv_cache_memory_bytes": 2**31,
            "max_num_batched_tokens": 4096,
            "max_num_queued_reqs": 100,
            "max_num_queued_tokens": 100_000,
            "scheduling_policy": "priority",
            "enable_prefix_caching": False,
            "async_scheduling": False,
            "stream_interval": 5,
            "moe_backend": "flashinfer_trtllm",
            "quantization_config": MXFP8,
            "optimization_level": "1",
            "max_cudagraph_capture_size": 128,
            "performance_mode": "throughput",
            "load_format": "safetensors",
            "safetensors_load_strategy": "prefetch",
        },
    ),
)
"""Each value of each enumeration, each option once, and what can be together."""

BAD = {
    "kv_cache_dtype": ("fp5", ["--kv-cache-dtype", "fp5"]),
    "scheduling_policy": ("lifo", ["--scheduling-policy", "lifo"]),
    "moe_backend": ("abacus", ["--moe-backend", "abacus"]),
    "performance_mode": ("fast", ["--performance-mode", "fast"]),
    "load_strategy": ("guess", ["--safetensors-load-strategy", "guess"]),
    "optimization_level": (7, ["--optimization-level", "7"]),
    "max_num_batched_tokens": (0, ["--max-num-batched-tokens", "0"]),
    "max_queued_requests": (-1, ["--max-num-queued-reqs", "-1"]),
    "max_queued_tokens": (-1, ["--max-num-queued-tokens", "-1"]),
    "stream_interval": (0, ["--stream-interval", "0"]),
    "pipeline_parallel_size": (0, ["--pipeline-parallel-size", "0"]),
}
"""A value of an option that both refuse, and how it would be said to vLLM."""
OURS = {
    # vLLM 0.32 takes these, and fails later or does something else.
    "load_format": "floppy",
    "kv_cache_memory_bytes": -5,
    "max_cudagraph_capture_size": -3,
}
"""A value of an option that only we refuse."""


def an_order_with(options: Mapping[str, Any], **orders: Any) -> ServerOrders:  # noqa: ANN401 - a raw object
    return an_order(engine=EngineOptions(**options), **orders)


@pytest.fixture(scope="module")
def answer(request: pytest.FixtureRequest, room: Room) -> Answer:
    """What vLLM's parser says of all cases, then of all bad values."""
    planned = [plan_command(an_order_with(case.options, **case.orders), FACTS).arguments for case in CASES]
    bad: list[Sequence[str]] = [["/srv", *arguments] for _, arguments in BAD.values()]
    with shown(request):
        return parse_all(room, [*planned, *bad])


@pytest.fixture
def parsed(request: pytest.FixtureRequest, answer: Answer) -> Parsed:
    return answer.parsed[[case.name for case in CASES].index(request.param.name)]


def test_every_option_and_every_value_has_a_case() -> None:
    tried = {name for case in CASES for name in case.options}
    assert tried == {option.name for option in fields(EngineOptions)}
    values = {value for case in CASES for value in case.options.values() if isinstance(value, StrEnum)}
    kinds = (KvCacheDtype, SchedulingPolicy, MoeBackend, PerformanceMode, LoadFormat, LoadStrategy)
    assert values >= {value for kind in kinds for value in kind}


@pytest.mark.parametrize(("case", "parsed"), [(c, c) for c in CASES], indirect=["parsed"], ids=[c.name for c in CASES])
def test_vllm_understands_what_is_meant(case: Case, parsed: Parsed) -> None:
    assert parsed.values is not None, parsed.error
    # Of a JSON object, vLLM may know more than was said.
    seen = {
        name: {key: parsed.values[name].get(key) for key in value}
        if isinstance(value, dict) and isinstance(parsed.values[name], dict)
        else parsed.values[name]
        for name, value in case.meant.items()
    }
    assert comparable(seen) == comparable(case.meant)
    assert not case.whole or parsed.error == ""


@pytest.mark.parametrize("option", BAD)
def test_what_vllm_refuses_is_refused_before_it_starts(option: str, answer: Answer) -> None:
    value, _ = BAD[option]
    assert answer.parsed[len(CASES) + list(BAD).index(option)].error
    with pytest.raises(BadOrdersError, match=r"spec\."):
        plan_command(an_order_with({option: value}), FACTS)


@pytest.mark.parametrize("option", OURS)
def test_what_vllm_would_notice_too_late_is_refused(option: str) -> None:
    with pytest.raises(BadOrdersError, match=r"spec\."):
        plan_command(an_order_with({option: OURS[option]}), FACTS)


def test_every_load_format_can_be_loaded(answer: Answer) -> None:
    assert answer.load_formats >= set(LoadFormat)


def test_every_owned_flag_is_one_of_vllm(answer: Answer) -> None:
    assert [flag for flag in OWNED_FLAGS if flag not in answer.flags] == []


def comparable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with what vLLM makes of `mxfp8` in place of the word."""
    return {
        name: "mxfp8" if "mxfp8" in str(value) or "float8_e4m3fn" in str(value) else value
        for name, value in values.items()
    }
