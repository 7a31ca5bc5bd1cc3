"""What the operator tells a replica's pod: the server's orders, and which weights to fetch.

Standard library only, since the operator imports it too. Documents are versioned JSON, as those of `contract`.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Self, TypeVar

from gptoss_runtime.contract import VERSION, ContractError, load_document
from gptoss_runtime.engine_options import EngineOptions, Speculation


T = TypeVar("T")

SERVER_ENV = "GPTOSS_SERVER"
"""Environment variable that carries the `ServerOrders` document."""
WEIGHTS_ENV = "GPTOSS_WEIGHTS"
"""Environment variable that carries the `WeightsOrder` document of `gptoss-fetch`."""


_OURS = "leave it out: the replica's server depends on it"
_GPUS = "set spec.tensorParallel or spec.engine.pipelineParallel; more GPUs than one replica holds are more replicas"
_SPECULATION = "set spec.engine.speculation"
_TLS = "leave it out: TLS ends at the gateway, and health is asked over plain HTTP inside the pod"

OWNED_FLAGS = MappingProxyType(
    {
        "--model": "set spec.model",
        "--revision": "set spec.model.source.huggingFace.revision",
        "--served-model-name": "set spec.model.servedName",
        "--tensor-parallel-size": "set spec.tensorParallel",
        "--max-model-len": "set spec.engine.maxModelLen",
        "--max-num-seqs": "set spec.engine.maxNumSeqs",
        "--gpu-memory-utilization": "set spec.engine.gpuMemoryUtilization",
        "--device-memory-utilization": "set spec.engine.gpuMemoryUtilization",
        "--pipeline-parallel-size": "set spec.engine.pipelineParallel",
        "--enable-expert-parallel": "set spec.engine.expertParallel",
        "--kv-cache-dtype": "set spec.engine.kvCacheDtype",
        "--kv-cache-memory-bytes": "set spec.engine.kvCacheMemory",
        "--max-num-batched-tokens": "set spec.engine.maxNumBatchedTokens",
        "--max-num-queued-reqs": "set spec.engine.maxQueuedRequests",
        "--max-num-queued-tokens": "set spec.engine.maxQueuedTokens",
        "--scheduling-policy": "set spec.engine.schedulingPolicy",
        "--enable-prefix-caching": "set spec.engine.prefixCaching",
        "--async-scheduling": "set spec.engine.asyncScheduling",
        "--stream-interval": "set spec.engine.streamInterval",
        "--quantization": "set spec.engine.quantization",
        "--quantization-config": "set spec.engine.mxfp8Activations",
        "--moe-backend": "set spec.engine.moeBackend",
        "--speculative-config": _SPECULATION,
        "--spec-method": _SPECULATION,
        "--spec-model": _SPECULATION,
        "--spec-tokens": _SPECULATION,
        "--optimization-level": "set spec.engine.optimizationLevel",
        "--max-cudagraph-capture-size": "set spec.engine.maxCudagraphCaptureSize",
        "--enforce-eager": "set spec.engine.enforceEager",
        "--performance-mode": "set spec.engine.performanceMode",
        "--load-format": "set spec.engine.load.format",
        "--safetensors-load-strategy": "set spec.engine.load.strategy",
        "--model-loader-extra-config": "set spec.engine.load.options",
        "--shutdown-timeout": "set spec.drainSeconds",
        "--api-key": "leave it out: keys belong to the gateway",
        "--host": _OURS,
        "--port": _OURS,
        "--uds": _OURS,
        "--root-path": _OURS,
        "--headless": _OURS,
        "--grpc": _OURS,
        "--config": "write the arguments themselves",
        "--middleware": _OURS,
        "--enable-server-load-tracking": _OURS,
        "--disable-access-log-for-endpoints": _OURS,
        "--fail-on-environ-validation": _OURS,
        "--tool-call-parser": "leave it out: gpt-oss has one, openai",
        "--enable-auto-tool-choice": "leave it out: gpt-oss always has it",
        "--api-server-count": "leave it out: one API server per replica keeps its count of running requests exact",
        "--data-parallel-size": _GPUS,  # and all that begin with --data-parallel or -dp
        "--nnodes": _GPUS,
        "--node-rank": _GPUS,
        "--ssl-keyfile": _TLS,
        "--ssl-certfile": _TLS,
        "--ssl-ca-certs": _TLS,
        "--ssl-cert-reqs": _TLS,
        "--ssl-ciphers": _TLS,
        "--enable-ssl-refresh": _TLS,
    }
)
"""Arguments of `vllm serve` that follow from the orders, and what to do instead of giving them.

The schema refuses their plain spellings, and the server all of them. None of vLLM 0.32's other arguments is a beginning
of one of these.
"""


class Cloud(StrEnum):
    """Where notices of an interruption come from."""

    AUTO = "Auto"
    """What the machine's firmware says it is; none, where that names no known cloud."""
    OFF = "Off"
    AWS = "AWS"
    GCP = "GCP"
    AZURE = "Azure"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsOrder:
    """Which weights `gptoss-fetch` brings where."""

    source: str
    """`hf://owner/name`, or a directory of an object store such as `s3://bucket/path`, `gs://`, `az://`, `https://`."""
    revision: str = ""
    """Commit, tag or branch of a hf:// source. Empty is its default branch."""
    directory: str
    """Where they go; it holds config.json afterwards."""
    endpoint: str = ""
    """Address of a mirror of the hub, or of an S3-compatible store. Empty: the public one."""

    def encode(self) -> str:
        """Return the document as JSON with a stable order, since it is part of the pod's revision."""
        return json.dumps({"version": VERSION, **asdict(self)}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return the order in `text`. Raises ContractError."""
        document = load_document(text, what="weights order")
        return _made(cls, document, what="weights order")


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenOrder:
    """A prompt whose answer is known, in part. It is asked at temperature 0."""

    name: str
    prompt: str
    """A user's message."""
    contains: tuple[str, ...] = ()
    """Texts that the answer must all contain, whatever the case of letters."""
    json_schema: str = ""
    """JSON Schema, as JSON text, that the answer must satisfy. Empty: it need not be JSON."""
    max_tokens: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOrders:
    """What one replica's server is to run."""

    model: str
    """Directory in the pod, or a Hugging Face repository such as `openai/gpt-oss-20b`."""
    revision: str = ""
    """Commit or branch of the repository. Empty for a directory, or for the repository's default."""
    served_names: tuple[str, ...]
    """Names that clients may put in a request's `model` field; the first is the one that answers carry."""
    tensor_parallel_size: int = 1
    """GPUs that share the model: 1, 2, 4 or 8."""
    max_model_len: int | None = None
    """Longest prompt and answer together, in tokens. None leaves it to the model."""
    max_num_seqs: int
    """Requests that run at once; also the concurrency that the gateway grants this replica."""
    gpu_memory_utilization: float | None = None
    """Share of each GPU's memory that vLLM may take, 0 to 1. None leaves vLLM's default."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    """How vLLM runs."""
    weights: WeightsOrder | None = None
    """What to fetch before vLLM starts. None: the model is there, or vLLM fetches or streams it itself."""
    compile_cache: str = ""
    """Directory for what compilers make, which a later start may use again. Empty: none is kept."""
    stall_seconds: int = 30
    """How long the engine may have requests without taking a step, until the replica takes no more."""
    restart_seconds: int = 120
    """How long it may stay so until it is started again."""
    probe_seconds: int = 60
    """Between two probes of an idle engine."""
    cloud: Cloud = Cloud.AUTO
    """Whose metadata service is asked for notices."""
    built_in_prompts: tuple[str, ...] = ()
    """Which of the server's own golden prompts are asked: `Harmony`, `ToolCall`."""
    golden_prompts: tuple[GoldenOrder, ...] = ()
    """Further ones."""
    extra_args: tuple[str, ...] = ()
    """Appended to vLLM's command line as they are."""
    drain_seconds: int = 120
    """How long running requests may go on after SIGTERM."""
    endpoint_grace_seconds: int = 5
    """How long new requests are still accepted after SIGTERM, while the gateways learn of it."""

    def encode(self) -> str:
        """Return the document as JSON with a stable order, since it is part of the pod's revision."""
        return json.dumps({"version": VERSION, **asdict(self)}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return the orders in `text`. Raises ContractError."""
        document = load_document(text, what="server orders")
        for name in ("served_names", "extra_args", "built_in_prompts"):
            if isinstance(document.get(name), list):
                document[name] = tuple(document[name])
        if isinstance(document.get("golden_prompts"), list):
            document["golden_prompts"] = tuple(_golden(prompt) for prompt in document["golden_prompts"])
        if isinstance(document.get("weights"), dict):
            document["weights"] = _made(WeightsOrder, document["weights"], what="server orders: weights")
        engine = document.get("engine")
        if isinstance(engine, dict):
            if isinstance(engine.get("speculation"), dict):
                engine["speculation"] = _made(Speculation, engine["speculation"], what="server orders: speculation")
            document["engine"] = _made(EngineOptions, engine, what="server orders: engine")
        return _made(cls, document, what="server orders")


def _golden(document: Any) -> GoldenOrder:  # noqa: ANN401 - what JSON had
    """Return one prompt. Raises ContractError."""
    what = "server orders: golden prompts"
    if not isinstance(document, dict):
        raise ContractError(f"{what}: a JSON object is needed, not {type(document).__name__}")
    contains = document.get("contains", ())
    return _made(GoldenOrder, {**document, "contains": tuple(contains)}, what=what)


def _made(cls: type[T], document: dict[str, Any], *, what: str) -> T:
    """Return `cls` of the fields that it knows. Raises ContractError where one that it needs is missing."""
    known = {f.name: document[f.name] for f in fields(cls) if f.name in document}  # type: ignore[arg-type]
    try:
        return cls(**known)
    except TypeError as error:
        raise ContractError(f"{what}: {error}") from error
