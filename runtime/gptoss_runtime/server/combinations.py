"""What engine options cannot be together, or on this machine, though each is right by itself. Pure.

vLLM 0.32 refuses most of it itself, a minute after the start and in its own words.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from gptoss_runtime.engine_options import EngineOptions, LoadFormat, LoadStrategy, MoeBackend, SpeculativeMethod
from gptoss_runtime.orders import ServerOrders


_READS_SAFETENSORS = frozenset({None, LoadFormat.AUTO, LoadFormat.SAFETENSORS})
"""Load formats that heed the load strategy."""
_TAKES_MXFP8 = frozenset({None, MoeBackend.AUTO, MoeBackend.FLASHINFER_TRTLLM, MoeBackend.FLASHINFER_CUTLASS})

_DEFAULT_LOADER: Mapping[str, type] = {
    "enable_multithread_load": bool,
    "num_threads": int,
    "enable_weights_track": bool,
}
_SHARDS: Mapping[str, type] = {"pattern": str}
_LOADER_OPTIONS: Mapping[str, Mapping[str, type]] = MappingProxyType(
    {
        LoadFormat.AUTO: _DEFAULT_LOADER,
        LoadFormat.SAFETENSORS: _DEFAULT_LOADER,
        LoadFormat.FASTSAFETENSORS: _DEFAULT_LOADER,
        LoadFormat.RUNAI_STREAMER: {"distributed": bool, "concurrency": int, "memory_limit": int},
        LoadFormat.RUNAI_STREAMER_SHARDED: _SHARDS,
        LoadFormat.SHARDED_STATE: _SHARDS,
        LoadFormat.DUMMY: {},
    }
)
"""What each format understands, beside tensorizer, which understands many. Others make vLLM end."""
_KINDS = MappingProxyType({bool: "true or false", int: "a whole number", str: "a text"})


def refuse_combinations(orders: ServerOrders, *, cpu: bool) -> tuple[str, ...]:
    """Return what of `orders` cannot be together, a sentence with a remedy each. Every value by itself is right."""
    engine = orders.engine
    return (
        *_refuse_batches(orders),
        *_refuse_memory(orders),
        *_refuse_compiling(engine),
        *_refuse_speculation(engine),
        *_refuse_loading(engine),
        *(_refuse_on_cpu(engine) if cpu else _refuse_activations(engine)),
    )


def _refuse_batches(orders: ServerOrders) -> Iterator[str]:
    sequences = orders.max_num_seqs
    tokens, requests = orders.engine.max_num_batched_tokens, orders.engine.max_queued_requests
    if tokens is not None and tokens < sequences:
        yield (
            f"a step of {tokens} tokens is too small for {sequences} requests at once: "
            "raise spec.engine.maxNumBatchedTokens or lower spec.engine.maxNumSeqs"
        )
    if requests is not None and requests < sequences:
        yield (
            f"spec.engine.maxQueuedRequests counts running requests too: set it to at least {sequences}, "
            "which is spec.engine.maxNumSeqs"
        )


def _refuse_memory(orders: ServerOrders) -> Iterator[str]:
    if orders.engine.kv_cache_memory_bytes is not None and orders.gpu_memory_utilization is not None:
        yield "set spec.engine.kvCacheMemory or spec.engine.gpuMemoryUtilization, not both"


def _refuse_compiling(engine: EngineOptions) -> Iterator[str]:
    if engine.enforce_eager and (engine.optimization_level or engine.max_cudagraph_capture_size):
        yield (
            "with spec.engine.enforceEager nothing is compiled or captured: leave it out, or leave out "
            "spec.engine.optimizationLevel and spec.engine.maxCudagraphCaptureSize"
        )


def _refuse_speculation(engine: EngineOptions) -> Iterator[str]:
    if engine.speculation and engine.speculation.method == SpeculativeMethod.NGRAM and engine.async_scheduling:
        yield "ngram needs the last step's tokens: leave out spec.engine.asyncScheduling, or use eagle3"


def _refuse_activations(engine: EngineOptions) -> Iterator[str]:
    if engine.mxfp8_activations and engine.moe_backend not in _TAKES_MXFP8:
        yield (
            f"{engine.moe_backend} computes with 16-bit activations: leave out spec.engine.mxfp8Activations, "
            "or set spec.engine.moeBackend to flashinfer_trtllm or flashinfer_cutlass"
        )


def _refuse_on_cpu(engine: EngineOptions) -> Iterator[str]:
    if engine.mxfp8_activations:
        yield "this server's vLLM runs on a CPU: leave out spec.engine.mxfp8Activations, or use an image for GPUs"
    if engine.moe_backend not in (None, MoeBackend.AUTO):
        yield "this server's vLLM runs on a CPU: leave out spec.engine.moeBackend, or use an image for GPUs"


def _refuse_loading(engine: EngineOptions) -> Iterator[str]:
    load_format, strategy = engine.load_format, engine.load_strategy
    if strategy is not None and load_format not in _READS_SAFETENSORS:
        yield f"{load_format} has no load strategy: leave out spec.engine.load.strategy"
    known = _LOADER_OPTIONS.get(load_format or LoadFormat.AUTO)
    if known is None:
        return
    for name, value in engine.loader_options.items():
        if name not in known:
            names = f"it understands {', '.join(known)}" if known else "it has none"
            yield f"{load_format or LoadFormat.AUTO} has no option {name}; {names}: correct spec.engine.load.options"
        elif type(value) is not known[name]:
            yield f"{name} is {value!r}: set spec.engine.load.options.{name} to {_KINDS[known[name]]}"
    if engine.loader_options.get("enable_multithread_load") is True and strategy not in (None, LoadStrategy.LAZY):
        yield "several threads read lazily: leave out spec.engine.load.strategy or enable_multithread_load"
