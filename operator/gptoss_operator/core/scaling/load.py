"""What was measured of a deployment's requests. What is not known is None, never zero.

A number may also be NaN, infinite or negative, as it came: `known` tells those apart.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


STALE_SECONDS: Final = 30.0
"""Age from which a document of a gateway or a replica says nothing; two that are further apart have a gap between
them."""


def known(value: float | None) -> float | None:
    """Return `value`, or None for what is no measurement: NaN, infinite, or negative."""
    return value if value is not None and math.isfinite(value) and value >= 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaLoad:
    """What one ready replica said a moment ago."""

    running: float | None = None
    """Requests that its engine works on."""
    waiting: float | None = None
    """Requests in its engine's own queue."""
    in_flight: float | None = None
    """Requests that it has accepted and not yet answered to the end."""
    kv_usage: float | None = None
    """Share of its key-value cache that is used, 0 to 1."""
    tokens_per_second: float | None = None
    """Tokens that it has generated per second since the document before this one."""
    max_num_seqs: float | None = None
    """Requests that it may run at once."""
    kv_tokens: float | None = None
    """Tokens that its key-value cache has room for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What requests asked for in the last ten minutes."""

    requests: float
    """How many have ended."""
    prompt_tokens: float
    """Tokens of all their prompts."""
    generation_tokens: float
    """Tokens of all their answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What gateways and replicas measured. Sums are over all gateways, and None where one of them is not known."""

    gateway_age_seconds: float | None = None
    """Age of the oldest among the gateways' newest documents. None: at least one gateway has never been heard."""
    arrivals_1m: float | None = None
    """Requests per second that came, refused or not yet served ones included, over the last 60 s."""
    arrivals_5m: float | None = None
    """The same over the last 300 s, or as long as it is known if that is more than 60 s."""
    arrivals_earlier: float | None = None
    """The same over the 60 s that ended 300 s ago."""
    queued: float | None = None
    """Requests that wait at gateways for a place at a replica."""
    held: float | None = None
    """Requests that wait at gateways because no replica is ready."""
    oldest_wait_seconds: float | None = None
    """How long the oldest held request has waited."""
    in_flight: float | None = None
    """Requests at replicas, as the gateways count them."""
    idle_seconds: float | None = None
    """For how long evidence without a gap has shown no request at all: none came, waits or runs. None: not known."""
    ttft_p95_seconds: float | None = None
    """95th percentile of the time to the first token over the last 120 s, queueing included."""
    work: Work | None = None
    replicas: Mapping[int, ReplicaLoad] = field(default_factory=dict)
    """Ready replicas that have answered a moment ago, by slot. That one is missing says nothing of it."""


NOTHING_KNOWN = Load()
