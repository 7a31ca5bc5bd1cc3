"""What a user may ask of the gateway: `spec.routing`."""

from enum import StrEnum

from pydantic import Field

from gptoss_operator.api.base import ApiModel, DnsName


class RoutingStrategy(StrEnum):
    """How the gateway chooses a replica. Never one that is full, or that is to leave."""

    ROUND_ROBIN = "RoundRobin"
    """In turn."""
    LEAST_LOADED = "LeastLoaded"
    """The one with the fewest running requests."""
    PREFIX_AFFINITY = "PrefixAffinity"
    """The one that had a prompt with the same beginning before, whose KV cache is warm."""


class Priority(StrEnum):
    """Who passes whom in the queue. A class is served when no higher one waits."""

    HIGH = "High"
    NORMAL = "Normal"
    LOW = "Low"


class FilterStage(StrEnum):
    """What the content filter looks at."""

    BEFORE = "Before"
    """The prompt, before a replica sees it."""
    AFTER = "After"
    """The answer, before the client sees it: a stream is held back until it is complete."""
    BOTH = "Both"


class FilterFailure(StrEnum):
    """What happens to a request when the moderation model does not answer in time."""

    ALLOW = "Allow"
    REFUSE = "Refuse"


class PrefixAffinitySpec(ApiModel):
    """How PrefixAffinity groups prompts."""

    prefix_bytes: int = Field(default=1024, ge=16, le=8192)
    """Bytes of system prompt and first message together that decide. Prompts that begin alike go to one replica."""
    max_load_percent: int = Field(default=150, ge=101, le=1000)
    """Most that one replica may run, in percent of the mean. Beyond it, requests go to the next replica."""


class QueueSpec(ApiModel):
    """What happens when every replica is busy."""

    max_requests: int = Field(default=1000, ge=1, le=100000)
    """Requests that each gateway pod keeps waiting. Beyond it, clients get 429 with Retry-After."""
    max_wait_seconds: int = Field(default=60, ge=1, le=3600)
    """How long a request may wait for a place. Beyond it, clients get 429 with Retry-After."""


class HoldSpec(ApiModel):
    """What happens while no replica is ready."""

    max_requests: int = Field(default=1000, ge=0, le=100000)
    """Requests that each gateway pod holds. Beyond it, clients get 429 with Retry-After. Zero holds none."""
    max_wait_seconds: int = Field(default=900, ge=1, le=3600)
    """How long a request is held. Beyond it, clients get 429 with Retry-After."""
    heartbeat_seconds: int = Field(default=10, ge=1, le=300)
    """Time between two comments in a held stream, which say how far the start is and keep the connection open."""


class TierSpec(ApiModel):
    """Rights of a group of API keys. Each limit is for one tenant, over all gateway pods."""

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40)
    """Name that a key in the Secret may carry. Keys that carry none are of the tier `default`."""
    priority: Priority = Priority.NORMAL
    """Place in the queue: High before Normal before Low."""
    requests_per_second: int | None = Field(default=None, ge=1, le=100000)
    """Requests that may begin in one second. Absent: no limit."""
    concurrent_requests: int | None = Field(default=None, ge=1, le=100000)
    """Requests that may run or wait at once. Absent: no limit."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Tokens of prompts and answers in one minute. A tenant beyond it waits until the minute has passed."""


class ApiKeysSpec(ApiModel):
    """Which clients may send requests."""

    secret_name: DnsName
    """Secret with the keys: each entry is a tenant, each of its lines `KEY` or `sha256:HEX`, and maybe a tier."""
    tiers: tuple[TierSpec, ...] = Field(
        default=(),
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    """Rights by tier. A key of a tier that is not here is refused."""


class RequestLimits(ApiModel):
    """What a request may ask for. What is beyond is refused with 400 or 413, and the field is named."""

    max_body_bytes: int = Field(default=4_000_000, ge=1024, le=16_000_000)
    """Largest body. A prompt of 131072 tokens has about half a million bytes."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Largest max_tokens, max_completion_tokens and max_output_tokens. Absent: the model's own limit."""
    max_choices: int | None = Field(default=None, ge=1, le=128)
    """Largest n, and best_of. Absent: no limit."""


class TlsSpec(ApiModel):
    """HTTPS for clients."""

    secret_name: DnsName
    """Secret of type kubernetes.io/tls. A renewed certificate is taken over without a restart."""


class ContentFilterSpec(ApiModel):
    """A moderation model that looks at requests, answers, or both."""

    url: str = Field(pattern=r"^https?://[^\s]+$", max_length=500)
    """Base URL of an OpenAI API, such as that in the status of a GptOssDeployment with gpt-oss-safeguard."""
    model: str = Field(min_length=1, max_length=200)
    """Name of the moderation model."""
    api_key_secret_name: DnsName | None = None
    """Secret whose entry `api-key` is sent to it. Absent: none."""
    policy: str = Field(min_length=1, max_length=16384)
    """Policy in words, as the system prompt. The answer must begin with 0 or `safe` for what is allowed."""
    stage: FilterStage = FilterStage.BEFORE
    """What it looks at."""
    on_failure: FilterFailure = FilterFailure.REFUSE
    """What happens when it does not answer in time."""
    timeout_seconds: int = Field(default=10, ge=1, le=300)
    """How long it may take."""


class ResponseCacheSpec(ApiModel):
    """Answers that are kept and given again: to the same tenant, for the same request, if it is deterministic."""

    max_megabytes: int = Field(default=64, ge=1, le=4096)
    """Memory for answers in each gateway pod. The least recently used go first."""
    ttl_seconds: int = Field(default=3600, ge=1, le=604800)
    """How long an answer is kept."""


class InferencePoolSpec(ApiModel):
    """An InferencePool over the same pods, for users of the Gateway API. Its CRD must be installed."""

    endpoint_picker_name: DnsName
    """Service of the endpoint picker in the same namespace."""
    endpoint_picker_port: int = Field(default=9002, ge=1, le=65535)
    """Its port."""


class GatewaySpec(ApiModel):
    """The gateway pods."""

    replicas: int = Field(default=2, ge=1, le=20)
    """Gateway pods. Two or more keep answering while one is replaced."""
    threads: int = Field(default=1, ge=1, le=64)
    """Threads of HAProxy in each pod. One carries about 40000 tokens a second."""
    image: str | None = Field(default=None, min_length=1, max_length=500)
    """HAProxy image, 3.0 or newer with Lua. Default: the operator's, kept in status once it was chosen."""
    activator_image: str | None = Field(default=None, min_length=1, max_length=500)
    """Image of the sidecar. Default: the operator's, kept in status once it was chosen."""


class RoutingSpec(ApiModel):
    """How requests reach the replicas."""

    strategy: RoutingStrategy = RoutingStrategy.ROUND_ROBIN
    """How the gateway chooses a replica: RoundRobin, LeastLoaded or PrefixAffinity."""
    prefix_affinity: PrefixAffinitySpec = PrefixAffinitySpec()
    """How PrefixAffinity groups prompts."""
    queue: QueueSpec = QueueSpec()
    """What happens when every replica is busy."""
    hold: HoldSpec = HoldSpec()
    """What happens while no replica is ready."""
    api_keys: ApiKeysSpec | None = None
    """Which clients may send requests. Absent: all that can reach the Service."""
    limits: RequestLimits = RequestLimits()
    """What a request may ask for."""
    tls: TlsSpec | None = None
    """HTTPS for clients. Absent: plain HTTP."""
    content_filter: ContentFilterSpec | None = None
    """A moderation model that looks at requests, answers, or both. Absent: none."""
    cache: ResponseCacheSpec | None = None
    """Answers that are kept and given again. Absent: none."""
    inference_pool: InferencePoolSpec | None = None
    """An InferencePool over the same pods. Absent: none."""
    request_timeout_seconds: int = Field(default=1800, ge=1, le=86400)
    """Longest silence of a replica: to its first token, and between two tokens."""
    gateway: GatewaySpec = GatewaySpec()
    """The gateway pods."""
