"""How vLLM is to run: what users may choose beside the model and its size. Standard library only.

Every value is named as vLLM 0.32 names it. None, and an empty text, leave vLLM's own default.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class KvCacheDtype(StrEnum):
    """How keys and values are kept. fp8 halves their memory, from compute capability 8.9 on."""

    AUTO = "auto"
    BFLOAT16 = "bfloat16"
    FP8 = "fp8"
    FP8_E4M3 = "fp8_e4m3"
    FP8_E5M2 = "fp8_e5m2"


class SchedulingPolicy(StrEnum):
    """In which order vLLM takes requests from its own queue."""

    FCFS = "fcfs"
    PRIORITY = "priority"
    """By the number `priority` of the request, the lowest first."""


class MoeBackend(StrEnum):
    """Kernels of the experts that vLLM has for MXFP4."""

    AUTO = "auto"
    TRITON = "triton"
    TRITON_UNFUSED = "triton_unfused"
    MARLIN = "marlin"
    FLASHINFER_TRTLLM = "flashinfer_trtllm"
    FLASHINFER_CUTLASS = "flashinfer_cutlass"
    AITER = "aiter"


class PerformanceMode(StrEnum):
    """What vLLM's defaults are tuned for."""

    BALANCED = "balanced"
    INTERACTIVITY = "interactivity"
    THROUGHPUT = "throughput"


class LoadFormat(StrEnum):
    """How weights get into the GPU."""

    AUTO = "auto"
    SAFETENSORS = "safetensors"
    FASTSAFETENSORS = "fastsafetensors"
    RUNAI_STREAMER = "runai_streamer"
    RUNAI_STREAMER_SHARDED = "runai_streamer_sharded"
    SHARDED_STATE = "sharded_state"
    TENSORIZER = "tensorizer"
    DUMMY = "dummy"
    """Random weights, for measuring."""


class LoadStrategy(StrEnum):
    """How safetensors files are read."""

    LAZY = "lazy"
    EAGER = "eager"
    PREFETCH = "prefetch"


class SpeculativeMethod(StrEnum):
    """How tokens are guessed ahead."""

    EAGLE3 = "eagle3"
    NGRAM = "ngram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculation:
    """Guessing tokens ahead, which answers faster where the GPU has time to spare."""

    method: SpeculativeMethod
    model: str = ""
    """Directory or repository of the draft model; eagle3 needs one, ngram has none."""
    tokens: int
    """Tokens guessed at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """vLLM's options, typed."""

    pipeline_parallel_size: int = 1
    """Stages that share out the layers; a replica takes this times its tensor parallel size of GPUs."""
    expert_parallel: bool = False
    """Whether each GPU holds whole experts instead of a part of each."""
    kv_cache_dtype: KvCacheDtype | None = None
    kv_cache_memory_bytes: int | None = None
    """Memory for keys and values on each GPU; it replaces gpu_memory_utilization."""
    max_num_batched_tokens: int | None = None
    """Tokens of one step."""
    max_queued_requests: int | None = None
    """Requests that vLLM accepts, running and waiting; beyond it answers 503."""
    max_queued_tokens: int | None = None
    """The same in tokens of their prompts."""
    scheduling_policy: SchedulingPolicy | None = None
    prefix_caching: bool | None = None
    async_scheduling: bool | None = None
    stream_interval: int | None = None
    """Tokens that one event of a stream carries."""
    quantization: str = ""
    """None is needed for gpt-oss: the checkpoint says mxfp4."""
    moe_backend: MoeBackend | None = None
    mxfp8_activations: bool = False
    """Experts compute with 8-bit activations, on Blackwell."""
    speculation: Speculation | None = None
    optimization_level: int | None = None
    """0 to 3."""
    max_cudagraph_capture_size: int | None = None
    """Largest batch that has a CUDA graph. Less takes less memory and starts faster."""
    enforce_eager: bool = False
    """Neither compile nor capture graphs: starts faster, answers slower."""
    performance_mode: PerformanceMode | None = None
    load_format: LoadFormat | None = None
    load_strategy: LoadStrategy | None = None
    loader_options: dict[str, str | int | bool] = field(default_factory=dict)
    """Options of the load format, such as `concurrency` of runai_streamer."""
