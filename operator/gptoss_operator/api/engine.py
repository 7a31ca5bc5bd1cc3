"""How vLLM runs: the typed options, and what may be said beside them. Values are written as vLLM writes them."""

from typing import Annotated, ClassVar

from pydantic import Field

from gptoss_operator.api.base import ApiModel, Argument, Quantity
from gptoss_operator.api.rules import Rule, owned_flag_patterns
from gptoss_runtime.engine_options import (
    KvCacheDtype,
    LoadFormat,
    LoadStrategy,
    MoeBackend,
    PerformanceMode,
    SchedulingPolicy,
    SpeculativeMethod,
)


LoaderOption = Annotated[str, Field(max_length=1024)]


class SpeculationSpec(ApiModel):
    """Guessing tokens ahead: faster answers where the GPU has time to spare."""

    method: SpeculativeMethod
    """eagle3 (a draft model) or ngram (from the prompt)."""
    model: str | None = Field(default=None, pattern=r"^[\w./-]+$", max_length=500)
    """Repository or directory of the draft model, for eagle3."""
    tokens: int = Field(default=3, ge=1, le=16)
    """Tokens guessed at a time."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(self.method == 'eagle3') == has(self.model)",
            "eagle3 needs the repository or directory of its draft model, ngram has none",
            field="model",
        ),
    )


class LoadSpec(ApiModel):
    """How weights get into the GPU."""

    format: LoadFormat | None = None
    """Default: vLLM's own, auto."""
    strategy: LoadStrategy | None = None
    """How safetensors files are read: lazy, eager or prefetch. Default: prefetch on network disks, where it fits."""
    options: dict[str, LoaderOption] = Field(default_factory=dict, max_length=16)
    """Options of the format, such as `concurrency: "16"` of runai_streamer. Numbers and true, false are understood."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.strategy) || !has(self.format) || self.format in ['auto', 'safetensors']",
            "only the formats auto and safetensors have a strategy",
            field="strategy",
        ),
    )


class EngineSpec(ApiModel):
    """How vLLM runs."""

    max_model_len: int | None = Field(default=None, ge=256, le=131072)
    """Longest prompt and answer together, in tokens. Default: the model's own, 131072."""
    max_num_seqs: int = Field(default=128, ge=1, le=4096)
    """Requests that one replica runs at once. The gateway queues what is beyond it."""
    gpu_memory_utilization: float | None = Field(default=None, ge=0.1, le=0.98)
    """Share of each GPU's memory that vLLM takes. Default: vLLM's own, 0.92."""
    pipeline_parallel: int = Field(default=1, ge=1, le=8)
    """Stages that share out the layers. A replica takes this times tensorParallel of GPUs, on one node."""
    expert_parallel: bool = False
    """Each GPU holds whole experts instead of a part of each."""
    kv_cache_dtype: KvCacheDtype | None = None
    """How keys and values are kept; fp8 halves their memory, from Ada and Hopper on. Default: auto, as the model."""
    kv_cache_memory: Quantity | None = None
    """Memory for keys and values on each GPU. It replaces gpuMemoryUtilization."""
    max_num_batched_tokens: int | None = Field(default=None, ge=64, le=131072)
    """Tokens of one step. Default: vLLM's own, by GPU."""
    max_queued_requests: int | None = Field(default=None, ge=1, le=65536)
    """Requests that vLLM itself accepts, waiting ones included; beyond it answers 503. Default: no bound, since the
    gateway sends no more than maxNumSeqs."""
    max_queued_tokens: int | None = Field(default=None, ge=1)
    """The same in tokens of their prompts."""
    scheduling_policy: SchedulingPolicy | None = None
    """fcfs, or priority: by the number `priority` of each request. Default: fcfs."""
    prefix_caching: bool | None = None
    """Keys and values of equal beginnings of prompts are kept. Default: true."""
    async_scheduling: bool | None = None
    """The next step is planned while one runs. Default: true, where it is possible."""
    stream_interval: int | None = Field(default=None, ge=1, le=1000)
    """Tokens that one event of a stream carries. Default: 1."""
    quantization: str | None = Field(default=None, pattern=r"^\w[\w-]*$", max_length=64)
    """Quantisation of the weights. Default: what the checkpoint says, mxfp4 for gpt-oss."""
    moe_backend: MoeBackend | None = None
    """Kernels of the experts. Default: auto, by GPU."""
    mxfp8_activations: bool = False
    """Experts compute with 8-bit activations, on Blackwell."""
    speculation: SpeculationSpec | None = None
    """Guessing tokens ahead. Default: off."""
    optimization_level: int | None = Field(default=None, ge=0, le=3)
    """How much is compiled. Default: vLLM's own, 2."""
    max_cudagraph_capture_size: int | None = Field(default=None, ge=1, le=4096)
    """Largest batch that has a CUDA graph; less takes less memory and starts faster. Default: vLLM's own."""
    enforce_eager: bool = False
    """Neither compile nor capture graphs: starts faster, answers slower."""
    performance_mode: PerformanceMode | None = None
    """balanced, interactivity or throughput. Default: balanced."""
    load: LoadSpec = LoadSpec()
    """How weights get into the GPU."""
    extra_args: tuple[Argument, ...] = Field(default=(), max_length=64)
    """Further arguments of `vllm serve`. Those that the operator sets itself are refused."""

    rules: ClassVar[tuple[Rule, ...]] = (
        *(
            Rule(
                f"!has(self.extraArgs) || self.extraArgs.all(a, !a.matches('{pattern}'))",
                "an argument that the operator sets itself, such as --port, --model, --api-key, --quantization or "
                "--tensor-parallel-size: use the fields of spec, or leave it out",
                field="extraArgs",
            )
            for pattern in owned_flag_patterns()
        ),
        Rule(
            "!has(self.maxNumBatchedTokens) || self.maxNumBatchedTokens >= self.maxNumSeqs",
            "a step holds a token of each request: maxNumBatchedTokens is at least maxNumSeqs",
            field="maxNumBatchedTokens",
        ),
        Rule(
            "!has(self.maxQueuedRequests) || self.maxQueuedRequests >= self.maxNumSeqs",
            "running requests count too: maxQueuedRequests is at least maxNumSeqs",
            field="maxQueuedRequests",
        ),
        Rule(
            "!(self.enforceEager && (has(self.maxCudagraphCaptureSize) || "
            "has(self.optimizationLevel) && self.optimizationLevel > 0))",
            "enforceEager compiles and captures nothing: leave out optimizationLevel and maxCudagraphCaptureSize",
            field="enforceEager",
        ),
        Rule(
            "!(has(self.speculation) && self.speculation.method == 'ngram' && "
            "has(self.asyncScheduling) && self.asyncScheduling)",
            "ngram needs the last step's tokens: leave out asyncScheduling, or use eagle3",
            field="asyncScheduling",
        ),
        Rule(
            "!self.mxfp8Activations || !has(self.moeBackend) || "
            "self.moeBackend in ['auto', 'flashinfer_trtllm', 'flashinfer_cutlass']",
            "8-bit activations need moeBackend auto, flashinfer_trtllm or flashinfer_cutlass",
            field="mxfp8Activations",
        ),
        Rule(
            "!(has(self.kvCacheMemory) && has(self.gpuMemoryUtilization))",
            "set kvCacheMemory or gpuMemoryUtilization, not both",
            field="kvCacheMemory",
        ),
    )
