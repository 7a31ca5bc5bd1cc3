"""How a replica's vLLM runs: the engine of the spec, as the server is told it."""

from gptoss_operator.api.engine import EngineSpec, SpeculationSpec
from gptoss_operator.core.quantity import bytes_of
from gptoss_runtime.engine_options import EngineOptions, Speculation


def engine_options(engine: EngineSpec) -> EngineOptions:
    """Return what the server is told of `engine`; sizes and further arguments are orders of their own."""
    memory = engine.kv_cache_memory
    return EngineOptions(
        pipeline_parallel_size=engine.pipeline_parallel,
        expert_parallel=engine.expert_parallel,
        kv_cache_dtype=engine.kv_cache_dtype,
        kv_cache_memory_bytes=None if memory is None else bytes_of(memory),
        max_num_batched_tokens=engine.max_num_batched_tokens,
        max_queued_requests=engine.max_queued_requests,
        max_queued_tokens=engine.max_queued_tokens,
        scheduling_policy=engine.scheduling_policy,
        prefix_caching=engine.prefix_caching,
        async_scheduling=engine.async_scheduling,
        stream_interval=engine.stream_interval,
        quantization=engine.quantization or "",
        moe_backend=engine.moe_backend,
        mxfp8_activations=engine.mxfp8_activations,
        speculation=_speculation(engine.speculation),
        optimization_level=engine.optimization_level,
        max_cudagraph_capture_size=engine.max_cudagraph_capture_size,
        enforce_eager=engine.enforce_eager,
        performance_mode=engine.performance_mode,
        load_format=engine.load.format,
        load_strategy=engine.load.strategy,
        loader_options={name: _understood(value) for name, value in engine.load.options.items()},
    )


def _speculation(speculation: SpeculationSpec | None) -> Speculation | None:
    if speculation is None:
        return None
    return Speculation(method=speculation.method, model=speculation.model or "", tokens=speculation.tokens)


def _understood(value: str) -> str | int | bool:
    """Return the number, true or false that a text says, as it is in JSON; otherwise the text."""
    if value in ("true", "false"):
        return value == "true"
    digits = value.removeprefix("-")
    return int(value) if digits.isascii() and digits.isdecimal() else value
