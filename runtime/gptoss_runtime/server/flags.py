"""From the typed engine options to arguments of `vllm serve` 0.32. Pure.

Options come out of a document, which may hold anything, so that each is checked and refused in words. What several
options cannot be together is in `combinations`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

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


MXFP8_ACTIVATIONS = json.dumps({"moe": {"activation": "mxfp8"}})
"""What `VLLM_USE_FLASHINFER_MOE_MXFP4_MXFP8` of older versions did."""
DRAFT_TENSOR_PARALLEL_SIZE = 1
"""A draft model is small; sharing it out would cost more than it saves."""


@dataclass(frozen=True, slots=True)
class _Option:
    name: str
    """In `EngineOptions`."""
    flag: str
    field: str
    """Below spec.engine."""


@dataclass(frozen=True, slots=True)
class _Number(_Option):
    least: int
    most: int | None = None


@dataclass(frozen=True, slots=True)
class _Choice(_Option):
    among: type[StrEnum]


_NUMBERS = (
    _Number("pipeline_parallel_size", "--pipeline-parallel-size", "pipelineParallel", 1, 8),
    _Number("kv_cache_memory_bytes", "--kv-cache-memory-bytes", "kvCacheMemory", 1),
    _Number("max_num_batched_tokens", "--max-num-batched-tokens", "maxNumBatchedTokens", 1),
    _Number("max_queued_requests", "--max-num-queued-reqs", "maxQueuedRequests", 1),
    _Number("max_queued_tokens", "--max-num-queued-tokens", "maxQueuedTokens", 1),
    _Number("stream_interval", "--stream-interval", "streamInterval", 1),
    _Number("optimization_level", "--optimization-level", "optimizationLevel", 0, 3),
    _Number("max_cudagraph_capture_size", "--max-cudagraph-capture-size", "maxCudagraphCaptureSize", 1),
)
_CHOICES = (
    _Choice("kv_cache_dtype", "--kv-cache-dtype", "kvCacheDtype", KvCacheDtype),
    _Choice("scheduling_policy", "--scheduling-policy", "schedulingPolicy", SchedulingPolicy),
    _Choice("moe_backend", "--moe-backend", "moeBackend", MoeBackend),
    _Choice("performance_mode", "--performance-mode", "performanceMode", PerformanceMode),
    _Choice("load_format", "--load-format", "load.format", LoadFormat),
    _Choice("load_strategy", "--safetensors-load-strategy", "load.strategy", LoadStrategy),
)
_SWITCHES = (
    _Option("expert_parallel", "--enable-expert-parallel", "expertParallel"),
    _Option("prefix_caching", "--enable-prefix-caching", "prefixCaching"),
    _Option("async_scheduling", "--async-scheduling", "asyncScheduling"),
    _Option("mxfp8_activations", "", "mxfp8Activations"),
    _Option("enforce_eager", "--enforce-eager", "enforceEager"),
)
_ONLY_TRUE = frozenset({"expert_parallel", "enforce_eager"})
"""Switches that are off unless they are given, so that false needs no argument."""

_NOTHING_ON_CPU = frozenset({"async_scheduling", "optimization_level", "max_cudagraph_capture_size"})
"""What means nothing where nothing is compiled and there are no graphs."""


def engine_arguments(options: EngineOptions, *, cpu: bool) -> tuple[str, ...]:
    """Return the arguments for options that `refuse_options` has found nothing wrong with.

    What means nothing on a CPU is left out there; `left_out` says so.
    """
    return tuple(_arguments(options, cpu=cpu))


def left_out(options: EngineOptions, *, cpu: bool) -> tuple[str, ...]:
    """Return a sentence about the options that are not passed on to vLLM; none when all are."""
    every: tuple[_Option, ...] = (*_NUMBERS, *_SWITCHES)
    given = [f"spec.engine.{o.field}" for o in every if o.name in _NOTHING_ON_CPU and _value(options, o) is not None]
    return (f"left out, since they mean nothing on a CPU: {', '.join(given)}",) if cpu and given else ()


def refuse_options(options: EngineOptions) -> tuple[str, ...]:
    """Return what is wrong with each option by itself, a sentence with a remedy each."""
    return (
        *_refuse_numbers(options),
        *_refuse_choices(options),
        *_refuse_switches(options),
        *_refuse_quantization(options.quantization),
        *_refuse_speculation(options.speculation),
        *_refuse_loader_options(options.loader_options),
    )


def is_whole(value: object, least: int, most: int | None = None) -> bool:
    """Return whether `value` is a whole number of this range. A document's true and false are none."""
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    return value >= least and (most is None or value <= most)


def _value(options: EngineOptions, option: _Option) -> object:
    return getattr(options, option.name)


def _refuse_numbers(options: EngineOptions) -> Iterator[str]:
    for number in _NUMBERS:
        value = _value(options, number)
        if value is not None and not is_whole(value, number.least, number.most):
            span = f"of at least {number.least}" if number.most is None else f"from {number.least} to {number.most}"
            yield f"{number.name} is {value!r}: set spec.engine.{number.field} to a whole number {span}"
    if options.pipeline_parallel_size is None:
        yield "pipeline_parallel_size is None: set spec.engine.pipelineParallel to a whole number from 1 to 8"


def _refuse_choices(options: EngineOptions) -> Iterator[str]:
    for choice in _CHOICES:
        value = _value(options, choice)
        among = [str(member) for member in choice.among]
        if value is not None and not (isinstance(value, str) and value in among):
            yield f"{choice.name} is {value!r}: set spec.engine.{choice.field} to one of {', '.join(among)}"


def _refuse_switches(options: EngineOptions) -> Iterator[str]:
    for switch in _SWITCHES:
        value = _value(options, switch)
        if value is not None and not isinstance(value, bool):
            yield f"{switch.name} is {value!r}: set spec.engine.{switch.field} to true or false"


def _refuse_quantization(name: object) -> Iterator[str]:
    if not isinstance(name, str) or name.startswith("-") or any(c.isspace() for c in name):
        yield f"quantization is {name!r}: set spec.engine.quantization to the name of one, or leave it out"


def _refuse_speculation(speculation: object) -> Iterator[str]:
    if speculation is None:
        return
    if not isinstance(speculation, Speculation):
        yield f"speculation is {speculation!r}: an object is needed; the operator writes it from spec.engine"
        return
    if not is_whole(speculation.tokens, 1):
        yield f"tokens is {speculation.tokens!r}: set spec.engine.speculation.tokens to a whole number of at least 1"
    if not isinstance(speculation.model, str):
        yield f"model is {speculation.model!r}: set spec.engine.speculation.model to a repository or directory"
    elif speculation.method == SpeculativeMethod.EAGLE3 and not speculation.model:
        yield "eagle3 guesses with a draft model: set spec.engine.speculation.model to its repository or directory"
    elif speculation.method == SpeculativeMethod.NGRAM and speculation.model:
        yield "ngram guesses from the prompt and has no draft model: leave out spec.engine.speculation.model"
    methods = [str(method) for method in SpeculativeMethod]
    if not (isinstance(speculation.method, str) and speculation.method in methods):
        yield f"method is {speculation.method!r}: set spec.engine.speculation.method to one of {', '.join(methods)}"


def _refuse_loader_options(loader_options: object) -> Iterator[str]:
    if not isinstance(loader_options, dict):
        yield f"loader_options is {loader_options!r}: set spec.engine.load.options to names and values"
        return
    for name, value in loader_options.items():
        if not isinstance(value, str | int):
            yield f"{name} is {value!r}: set spec.engine.load.options.{name} to a text, a whole number, true or false"


def _arguments(options: EngineOptions, *, cpu: bool) -> Iterator[str]:
    every: tuple[_Option, ...] = (*_NUMBERS, *_CHOICES, *_SWITCHES)
    for option in every:
        value = _value(options, option)
        if value is None or (cpu and option.name in _NOTHING_ON_CPU):
            continue
        if isinstance(value, bool):
            yield from _switch(option, on=value)
        elif option.name != "pipeline_parallel_size" or value != 1:
            yield from (option.flag, str(value))
    if options.quantization:
        yield from ("--quantization", options.quantization)
    if options.mxfp8_activations:
        yield from ("--quantization-config", MXFP8_ACTIVATIONS)
    if options.speculation is not None:
        yield from ("--speculative-config", _speculative_config(options.speculation))
    if options.loader_options:
        yield from ("--model-loader-extra-config", json.dumps(options.loader_options, sort_keys=True))
    if cpu and not options.enforce_eager:
        # Compiling for a CPU takes minutes and a C++ compiler in the image.
        yield "--enforce-eager"


def _switch(option: _Option, *, on: bool) -> Iterator[str]:
    if option.flag and on:
        yield option.flag
    elif option.flag and option.name not in _ONLY_TRUE:
        yield option.flag.replace("--", "--no-", 1)


def _speculative_config(speculation: Speculation) -> str:
    config: dict[str, str | int] = {"method": speculation.method, "num_speculative_tokens": speculation.tokens}
    if speculation.method == SpeculativeMethod.EAGLE3:
        config["model"] = speculation.model
        config["draft_tensor_parallel_size"] = DRAFT_TENSOR_PARALLEL_SIZE
    return json.dumps(config, sort_keys=True)
