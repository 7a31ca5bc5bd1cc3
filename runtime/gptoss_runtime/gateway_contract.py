"""What the operator, HAProxy and the activator in a gateway pod agree on: ports, files, headers, documents.

Standard library only, since the operator imports it too. HAProxy's configuration is rendered by the operator; the
activator is the sidecar that holds requests while no replica is ready, reloads keys, and turns HAProxy's log into
metrics. Neither needs the other to carry a request to a replica that is ready.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Self

from gptoss_runtime.contract import VERSION, ContractError, load_document


GATEWAY_PORT = 8080
"""Where clients are served."""
HAPROXY_HEALTH_PORT = 8404
"""HAProxy's `/healthz` and its own `/metrics`."""
ACTIVATOR_PORT = 8405
"""The activator's `/healthz`, `/state`, `/metrics`, and the preStop hook."""
USAGE_PORT = 8406
"""UDP: replicas report the tokens of a request to the gateway it came from (`Usage`), and gateways tell each other what
their tenants use (`{"version": 1, "peer": ...}`)."""

RUN_DIRECTORY = "/run/gptoss"
"""Directory in memory that the containers of a gateway pod share."""
CONFIG_DIRECTORY = "/etc/gptoss"
"""The ConfigMap: HAProxy's two configurations, its script, and the activator's orders."""
KEYS_DIRECTORY = "/etc/gptoss-keys"
"""The Secret with API keys, mounted into the activator alone."""
TLS_DIRECTORY = "/etc/gptoss-tls"
"""The Secret with certificate and key, mounted into HAProxy and the activator."""
FILTER_DIRECTORY = "/etc/gptoss-filter"
"""The Secret with the moderation model's `api-key`, mounted into the activator alone."""


class Socket(StrEnum):
    """Unix sockets in the run directory, and who listens on them."""

    RUNTIME = "haproxy.sock"
    """HAProxy: its runtime API, for the activator."""
    INNER = "inner.sock"
    """HAProxy: requests that passed the front door already and come back for a replica."""
    LONG = "long.sock"
    """The second HAProxy, with large buffers: bodies that the first could not send again."""
    HOLD = "hold.sock"
    """The activator: requests for which no replica is ready. It answers 503 when one is, and HAProxy goes on."""
    DETOUR = "detour.sock"
    """The activator: requests that its cache or the content filter must see."""
    LOG = "log.sock"
    """The activator, lines: HAProxy's log, out of its ring."""


class Map(StrEnum):
    """HAProxy's maps in the run directory. The activator writes the files and changes the maps in memory."""

    KEYS = "keys.map"
    """SHA-256 of an API key, 64 upper-case hexadecimal digits, to its tenant."""
    PRIORITIES = "priorities.map"
    """Tenant to HAProxy's priority class; lower is served first. Tenants of normal priority are absent."""
    RATES = "rates.map"
    """Tenant to the requests per second that this gateway may let through. Without a limit: absent."""
    CONCURRENCY = "concurrency.map"
    """Tenant to the requests that this gateway may run and queue at once. Without a limit: absent."""
    BLOCKED = "blocked.map"
    """Tenant whose tokens are used up to the seconds until it may go on."""


class Header(StrEnum):
    """Headers between gateway and replica. What a client sends under these names is overwritten or dropped."""

    TENANT = "x-gptoss-tenant"
    """Who asks; `anonymous` where no keys are asked for."""
    REQUEST_ID = "x-request-id"
    """The gateway's name for the request, in logs and usage reports. Clients see it too.

    Its first `ARRIVAL_DIGITS` digits are the time of arrival, the rest is chance."""
    PRIORITY = "x-gptoss-priority"
    """HAProxy's priority class, for a request that comes back by the inner socket."""
    AFFINITY = "x-gptoss-affinity"
    """Hash of the prompt's beginning, for a request that comes back by the inner socket."""
    REPLICA = "x-gptoss-replica"
    """In answers by the inner socket: address of the replica. Taken off before clients see it."""
    QUEUE_MS = "x-gptoss-queue-ms"
    """In answers by the inner socket: time in the queue. Taken off before clients see it."""
    STREAM = "x-gptoss-stream"
    """`1` where a stream was asked for, in requests to and answers from where bodies are read."""
    MODEL = "x-gptoss-model"
    """In answers of the second HAProxy: the model that was asked for. Taken off before clients see it."""
    HELD = "x-gptoss-held"
    """In the activator's answer to a request that it carries itself and that came back to it: no replica took it."""
    CODE = "x-gptoss-code"
    """In errors to clients: the error's `code`."""
    CACHE = "x-gptoss-cache"
    """In answers to clients, where there is a cache: `hit`, `miss`, or `bypass`."""


class Section(StrEnum):
    """Names in HAProxy's configuration that its statistics, its log and its runtime API have too."""

    CLIENTS = "openai"
    """The frontend that faces clients."""
    REPLICAS = "replicas"
    """The backend with a server for each replica."""
    LONG_PROMPTS = "long_prompts"
    """The backend that leads to the second HAProxy."""
    DETOUR = "detour"
    """The backend that leads to the activator's cache and content filter."""
    ACTIVATOR = "activator"
    """The activator, as a server of those backends and as the ring of the log."""


LEAVING = "proc.leaving"
"""HAProxy's variable that is true while the gateway pod leaves."""
ARRIVAL_DIGITS = 16
"""Digits of an `x-request-id` that say when the request arrived: milliseconds since 1970, hexadecimal."""
TENANT_TABLE = "tenants"
"""HAProxy's stick table with what each tenant does now: `gpc0_rate(1s)` requests let through, `conn_cur` at once."""
ANONYMOUS = "anonymous"
"""Tenant of all requests where no keys are asked for."""
PRIORITY_CLASSES = {"High": -100, "Normal": 0, "Low": 100}
"""HAProxy's priority class of each priority."""
HELD_STATUS = 503
"""What the activator answers when a held request may go on: HAProxy then sends it to a replica."""
QUEUE_FULL = "queue_full"
"""The error's `code` of a request that the front door refused because too many wait for a replica."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """Rights of the API keys of one tier; each limit is for one tenant over all gateway pods. None: no limit."""

    name: str
    priority: str = "Normal"
    requests_per_second: int | None = None
    concurrent_requests: int | None = None
    tokens_per_minute: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentFilter:
    """A moderation model."""

    url: str
    model: str
    policy: str
    before: bool
    after: bool
    refuse_on_failure: bool
    timeout_seconds: float
    has_api_key: bool = False
    """Whether the filter directory has the entry `api-key`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOrders:
    """What the activator of one deployment is to do."""

    deployment: str
    namespace: str
    model_names: tuple[str, ...]
    """Names that clients may put in a request's `model` field."""
    gateways: int = 1
    """Gateway pods that there should be."""
    peers: str = ""
    """DNS name that resolves to the addresses of all gateway pods. Empty: this one is alone."""
    hold_max_requests: int = 1000
    hold_max_wait_seconds: float = 900.0
    heartbeat_seconds: float = 10.0
    max_body_bytes: int = 4_000_000
    leave_seconds: float = 5.0
    """How long a leaving gateway still accepts requests, while the nodes take it out of the Service."""
    drain_seconds: float = 120.0
    """How long requests that run may go on after that."""
    leave_path: str = "/leave"
    """Path of the preStop hook on the activator's port. It has a part that other pods cannot know: who calls it shuts
    the front door."""
    has_keys: bool = False
    """Whether clients must show a key from the keys directory."""
    tiers: tuple[Tier, ...] = ()
    has_tls: bool = False
    cache_bytes: int = 0
    """Memory for answers. Zero: no cache."""
    cache_ttl_seconds: float = 3600.0
    content_filter: ContentFilter | None = None

    def encode(self) -> str:
        """Return the document as JSON with a stable order, since gateway pods are replaced when it changes."""
        return json.dumps({"version": VERSION, **asdict(self)}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return the orders in `text`. Raises ContractError."""
        document = load_document(text, what="gateway orders")
        known = {f.name: document[f.name] for f in fields(cls) if f.name in document}
        try:
            known["model_names"] = tuple(known["model_names"])
            known["tiers"] = tuple(Tier(**tier) for tier in known.get("tiers", ()))
            if known.get("content_filter"):
                known["content_filter"] = ContentFilter(**known["content_filter"])
            return cls(**known)
        except (KeyError, TypeError) as error:
            raise ContractError(f"gateway orders: {error!r}") from error


class GatewayCounter(StrEnum):
    """Names in `GatewayState.counters`."""

    ARRIVALS = "arrivals"
    """Requests that passed the front door's checks and were queued, held or sent on."""
    FINISHED = "finished"
    """Of these, those that ended, however they did."""
    FAILED = "failed"
    """Of these, those that ended with a status of 500 or more, or broke off while the client still waited."""
    REFUSED = "refused"
    """Requests that the front door refused: 4xx of its own, 429 included."""
    SHED = "shed"
    """Of these, those that a replica would have got, had not too many waited already: together with the arrivals, they
    are what clients ask for. Who uses up a limit of his own is not among them."""
    RETRIES = "retries"
    HELD = "held_total"
    """Requests that had to wait because no replica was ready."""
    PROMPT_TOKENS = "prompt_tokens"
    GENERATION_TOKENS = "generation_tokens"


class GatewayGauge(StrEnum):
    """Names in `GatewayState.gauges`. One that is unknown is absent."""

    IN_FLIGHT = "in_flight"
    """Requests at replicas."""
    QUEUED = "queued"
    """Requests that wait for a place at a replica."""
    HELD = "held"
    """Requests that wait because no replica is ready."""
    OLDEST_HELD_SECONDS = "oldest_held_seconds"
    REPLICAS_UP = "replicas_up"
    """Replicas that this gateway sends requests to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayState:
    """What `/state` on the activator's port answers."""

    start_id: str
    """New for each start of the activator, so that counters which begin again are noticed."""
    sequence: int
    """Raised by one for each document, so that a stale one is noticed."""
    uptime_seconds: float
    counters: dict[str, float] = field(default_factory=dict)
    """Totals since `start_id`, by name."""
    gauges: dict[str, float] = field(default_factory=dict)
    """Values of now, by name. One that is unknown is absent, never zero."""
    replicas: dict[str, bool] = field(default_factory=dict)
    """Whether this gateway finds each replica alive now, by address; one that drains is alive. One that it does not
    know is absent, as all are while HAProxy does not answer."""
    ttft_ms: dict[str, float] = field(default_factory=dict)
    """How many answers since `start_id` had their first token within how many milliseconds, queueing included: by upper
    bound, each answer in one bucket only. The bound of the slowest is `inf`. Empty: there was none."""

    def encode(self) -> str:
        """Return the document as JSON."""
        return json.dumps({"version": VERSION, **asdict(self)}, separators=(",", ":"), allow_nan=False)

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return the state in `text`. Raises ContractError."""
        document = load_document(text, what="gateway state")
        try:
            return cls(**{f.name: document[f.name] for f in fields(cls) if f.name in document})
        except (KeyError, TypeError) as error:
            raise ContractError(f"gateway state: {error!r}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a replica reports of one request when its answer ends: one datagram of JSON to `USAGE_PORT`.

    Of an answer that broke off, the tokens are an estimate.
    """

    id: str
    """The request's `x-request-id`."""
    tenant: str
    prompt_tokens: int
    generation_tokens: int

    def encode(self) -> bytes:
        """Return the datagram."""
        return json.dumps({"version": VERSION, "usage": asdict(self)}, separators=(",", ":")).encode()
