"""What a replica's pod says of itself: ports, phases, exit statuses and the state document. Its orders: `orders`.

Standard library only, since the operator imports it too. Documents are versioned JSON. A reader ignores fields
that it does not know and refuses a version that it does not know.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self


VERSION = 1
"""Version of all documents. Raised only when an old reader would misunderstand a new document."""

OPENAI_PORT = 8000
"""vLLM's own port, which the gateway sends requests to."""
HEALTH_PORT = 8081
"""`/startupz`, `/readyz`, `/livez`, `/healthz/deep`, `/state` and `/metrics` of `gptoss-server`."""
AGENT_PORT = 8082
"""HAProxy's agent check: one line for each connection."""

POD_DIRECTORY = "/etc/gptoss-pod"
"""Where a replica's pod finds what its annotations say, as files that the kubelet keeps up to date."""
TRAFFIC_FILE = "traffic"
"""The one of `gptoss.dev/traffic` there: see `Traffic`. Missing or empty: open."""

TERMINATION_LOG_ENV = "GPTOSS_TERMINATION_LOG"
"""Environment variable that names another file than `TERMINATION_LOG`."""
TERMINATION_LOG = "/dev/termination-log"
"""Where `gptoss-server` says why it ended; Kubernetes copies it into the pod's status."""


class ContractError(ValueError):
    """A document is not JSON, is of another version, or lacks a field; the message names it."""


class Phase(StrEnum):
    """How far a replica has come."""

    STARTING = "Starting"
    """The server starts vLLM, whose processes load their code."""
    FETCHING = "Fetching"
    """The weights are being brought to this machine."""
    LOADING = "Loading"
    """The weights go into memory."""
    COMPILING = "Compiling"
    """Kernels and graphs are made."""
    WARMING = "Warming"
    """vLLM is up; the first answers are checked."""
    WAITING = "Waiting"
    """It could serve, and is not let in yet: a rollout looks at it first."""
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


START_PHASES = (Phase.STARTING, Phase.FETCHING, Phase.LOADING, Phase.COMPILING, Phase.WARMING)
"""What comes before the first READY, in this order; one that is not needed is passed over."""


class NoticeKind(StrEnum):
    """What is going to happen to the machine."""

    TERMINATION = "Termination"
    """It will be taken away."""
    MAINTENANCE = "Maintenance"
    """It will be stopped or frozen for maintenance."""
    REBALANCE = "Rebalance"
    """It is more likely than others to be taken away soon; nothing is certain, and requests go on."""


class Check(StrEnum):
    """The questions of the deep health report."""

    MODEL_LOADED = "model_loaded"
    """vLLM serves the names that it was told to."""
    PARAMETERS_ACCESSIBLE = "parameters_accessible"
    """The probe's tokens and probabilities are what they were at the start."""
    INFERENCE_WORKING = "inference_working"
    """The engine takes steps while it has requests, and answers a probe while it has none."""
    MEMORY_AVAILABLE = "memory_available"
    """GPU and key-value cache have room, and the GPU reports no memory error."""
    GOLDEN_PROMPTS = "golden_prompts"
    """The prompts of the orders are answered as they should be. Absent where the orders have none."""


class Traffic(StrEnum):
    """What the pod annotation `gptoss.dev/traffic` says of a replica. A number from 1 to 100 is a canary's share."""

    CLOSED = "closed"
    """It gets no requests."""
    OPEN = "open"
    """It gets its full share, as where nothing is said."""


CLOSED_SHARE, OPEN_SHARE = 0, 100
"""Of a full share, in percent. What is between them is a canary's."""


def canary_share(text: str) -> int | None:
    """Return the percentage of a full share that `text` grants: 0 for closed, 100 for open, else the number.

    None: `text` is none of these.
    """
    match text.strip():
        case Traffic.CLOSED:
            return CLOSED_SHARE
        case "" | Traffic.OPEN:
            return OPEN_SHARE
        # The length first: Python refuses to read a number of thousands of digits.
        case number if number.isdecimal() and len(number) <= len("100") and 1 <= int(number) <= OPEN_SHARE:
            return int(number)
        case _:
            return None


class Counter(StrEnum):
    """Names in `ReplicaState.counters`. One that vLLM does not offer is absent."""

    ENGINE_STEPS = "engine_steps"
    """Steps of the engine; it moves as long as the engine works."""

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
    FURTHER_TOKENS = "further_tokens"
    """Tokens after the first one of a request."""
    FURTHER_TOKEN_SECONDS = "further_token_seconds"  # noqa: S105 - a token of text
    """The times between a token and the one before it, added up."""
    ANSWERS = "answers"
    """Requests to the API that were answered, or broke off, as our middleware counts them."""
    ANSWERS_FAILED = "answers_failed"
    """Of these, those with a status of 500 or more, 503 of a full queue or a leaving replica aside, and streams that
    broke off without their client having hung up."""
    GOLDEN_ASKED = "golden_asked"
    """Golden prompts that were asked."""
    GOLDEN_WRONG = "golden_wrong"
    """Of these, those that were answered otherwise than they should be, or not."""


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
    STALLED_SECONDS = "stalled_seconds"
    """How long the engine has had requests and not taken a step; 0 while it works."""
    KV_TOKENS = "kv_tokens"
    """Tokens that the key-value cache has room for, as vLLM says it."""
    PLANNED_KV_TOKENS = "planned_kv_tokens"
    """The same as the planner foresaw it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the supervisor thinks of its replica."""

    ready: bool
    live: bool
    reason: str
    """One sentence, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The answer to one question of the deep health report."""

    ok: bool | None
    """None: not known yet, or it cannot be known on this machine."""
    detail: str
    """One sentence, for people, without numbers that change all the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What the cloud says of this machine's near future."""

    kind: NoticeKind
    source: str
    """Where it was read, such as `AWS spot/instance-action`."""
    deadline: float | None = None
    """When it happens, in seconds since 1970. None: not said."""


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
    startup: dict[str, float] = field(default_factory=dict)
    """Seconds that each phase of the start took, by phase; the present one's so far."""
    checks: dict[str, CheckResult] = field(default_factory=dict)
    """The deep health report, by `Check`."""
    notice: Notice | None = None
    """What the cloud has announced; None while it has announced nothing."""

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
            checks = document.get("checks", {})
            known["checks"] = {name: CheckResult(ok=c["ok"], detail=c["detail"]) for name, c in checks.items()}
            if notice := document.get("notice"):
                kind = NoticeKind(notice["kind"])
                known["notice"] = Notice(kind=kind, source=notice["source"], deadline=notice.get("deadline"))
            return cls(**known)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
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
