"""What the operator and a replica's pod say to each other: the server's orders, and the replica's state document.

Standard library only, since the operator imports it too. Both documents are versioned JSON. A reader ignores fields
that it does not know and refuses a version that it does not know.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Self


VERSION = 1
"""Version of both documents. Raised only when an old reader would misunderstand a new document."""

OPENAI_PORT = 8000
"""vLLM's own port, which the gateway sends requests to."""
HEALTH_PORT = 8081
"""`/startupz`, `/readyz`, `/livez`, `/state` and `/metrics` of `gptoss-server`."""
AGENT_PORT = 8082
"""HAProxy's agent check: one line for each connection."""

SERVER_ENV = "GPTOSS_SERVER"
"""Environment variable that carries the `ServerOrders` document."""
TERMINATION_LOG = "/dev/termination-log"
"""Where `gptoss-server` says why it ended; Kubernetes copies it into the pod's status."""


_OURS = "leave it out: the replica's server depends on it"
_GPUS = "set spec.tensorParallel; more GPUs than one replica holds are more replicas"
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
        "--pipeline-parallel-size": _GPUS,
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


class ContractError(ValueError):
    """A document is not JSON, is of another version, or lacks a field; the message names it."""


class Phase(StrEnum):
    """How far a replica has come."""

    STARTING = "Starting"
    LOADING = "Loading"
    READY = "Ready"
    NOT_READY = "NotReady"
    DRAINING = "Draining"
    STOPPED = "Stopped"


class ExitCode:
    """Exit statuses of `gptoss-server`."""

    OK = 0
    """It was asked to stop and did."""
    BAD_ORDERS = 64
    """The orders cannot be carried out; starting again will not help."""
    START_FAILED = 70
    """vLLM ended before it was ready."""
    ENGINE_DIED = 71
    """vLLM ended after it was ready, whatever exit status it gave (it gives 0 when its engine dies)."""


class Counter(StrEnum):
    """Names in `ReplicaState.counters`. One that vLLM does not offer is absent."""

    PROMPT_TOKENS = "prompt_tokens"
    GENERATION_TOKENS = "generation_tokens"
    REQUESTS_FINISHED = "requests_finished"
    """All finish reasons together; each alone is `requests_finished_<reason>`, such as `requests_finished_stop`."""
    REQUESTS_REJECTED = "requests_rejected"
    """Refused with 503 because vLLM's own queue was full."""
    PREEMPTIONS = "preemptions"
    FIRST_TOKENS = "first_tokens"
    """Requests that got their first token."""
    FIRST_TOKEN_SECONDS = "first_token_seconds"  # noqa: S105 - a token of text
    """Their times to it, added up: arrival in vLLM to first token."""


class Gauge(StrEnum):
    """Names in `ReplicaState.gauges`. One that is unknown is absent."""

    REQUESTS_RUNNING = "requests_running"
    REQUESTS_WAITING = "requests_waiting"
    """In vLLM's own queue."""
    REQUESTS_IN_FLIGHT = "requests_in_flight"
    """Accepted and not yet answered to the end."""
    KV_CACHE_USAGE = "kv_cache_usage"
    """0 to 1."""
    MAX_NUM_SEQS = "max_num_seqs"
    """Requests that may run at once, from the orders."""
    LOAD_SECONDS = "load_seconds"
    """From the server's start until it was ready; absent before."""


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
        known = {f.name: document[f.name] for f in fields(cls) if f.name in document}
        for name in ("served_names", "extra_args"):
            if isinstance(known.get(name), list):
                known[name] = tuple(known[name])
        try:
            return cls(**known)
        except TypeError as error:
            raise ContractError(f"server orders: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the supervisor thinks of its replica."""

    ready: bool
    live: bool
    reason: str
    """One sentence, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """What `/state` on the health port answers."""

    start_id: str
    """New for each start of the server, so that counters which begin again are noticed."""
    sequence: int
    """Raised by one for each document, so that a stale one is noticed."""
    phase: Phase
    verdict: Verdict
    uptime_seconds: float
    counters: dict[str, float] = field(default_factory=dict)
    """Totals since `start_id`, by name."""
    gauges: dict[str, float] = field(default_factory=dict)
    """Values of now, by name. One that is unknown is absent, never zero."""

    def encode(self) -> str:
        """Return the document as JSON."""
        return json.dumps({"version": VERSION, **asdict(self)}, separators=(",", ":"), allow_nan=False)

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return the state in `text`. Raises ContractError."""
        document = load_document(text, what="replica state")
        try:
            known = {f.name: document[f.name] for f in fields(cls) if f.name in document}
            verdict = document["verdict"]
            known["verdict"] = Verdict(**{f.name: verdict[f.name] for f in fields(Verdict)})
            known["phase"] = Phase(document["phase"])
            return cls(**known)
        except (KeyError, TypeError, ValueError) as error:
            raise ContractError(f"replica state: {error!r}") from error


def load_document(text: str, *, what: str) -> dict[str, Any]:
    """Return the JSON object in `text`, if it is of the version that this side speaks. Raises ContractError."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ContractError(f"{what}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ContractError(f"{what}: a JSON object is needed, not {type(document).__name__}")
    if document.get("version") != VERSION:
        raise ContractError(f"{what}: version {document.get('version')!r}; this side speaks {VERSION}")
    return document
