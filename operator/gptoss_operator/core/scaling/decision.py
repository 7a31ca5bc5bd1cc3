"""What `decide_replicas` says, and what it remembers."""

from dataclasses import dataclass, field
from enum import StrEnum

from gptoss_operator.core.scaling.fit import Fit
from gptoss_operator.core.scaling.week import Week


class Limit(StrEnum):
    """What kept a decision from what the load alone asks for."""

    NONE = "None"
    MIN_REPLICAS = "MinReplicas"
    MAX_REPLICAS = "MaxReplicas"
    MAX_GPUS = "MaxGpus"
    MAX_HOURLY_COST = "MaxHourlyCost"
    UP_STEP = "UpStep"
    DOWN_STEP = "DownStep"
    STABILIZATION = "Stabilization"
    """A greater need within the window."""
    BUSY = "Busy"
    """Fewer replicas could not hold the requests that run."""
    UNSETTLED = "Unsettled"
    """A replica is being replaced, or is about to go."""
    NO_EVIDENCE = "NoEvidence"
    """Something is not known, so nothing is removed."""
    JUST_STARTED = "JustStarted"
    """The operator has not watched for long enough to remove anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a decision is made of, in replicas unless it says otherwise. None: it could not be known."""

    arrivals: float | None = None
    """Requests per second that are counted on."""
    replica_seconds: float | None = None
    """Replica-seconds that a request takes."""
    capacity: float | None = None
    """Requests per second that one replica is counted on for."""
    rate: float | None = None
    """For the requests that arrive."""
    backlog: float | None = None
    """For the requests that wait, beyond the reserve of those that serve the arriving ones."""
    kv_cache: float | None = None
    """For the key-value cache that is in use."""
    ttft: float | None = None
    """For a time to the first token that is too long."""
    concurrency: float | None = None
    """For the requests that run, where what they cost is not known yet."""
    last_week: float | None = None
    """For what was needed at this time a week ago."""
    waiting: float | None = None
    """Requests that wait: queued, held, and in the replicas' own queues."""
    needed: float | None = None
    """What all this asks for, before rounding, steps and bounds."""
    fully_used: float | None = None
    """What the load of now takes if replicas work without any reserve: with fewer, requests wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingMemory:
    """What `decide_replicas` remembers from one call to the next. Lost at a restart, but for what `seed` restores."""

    target: int | None = None
    """The last decision. None: none was made yet."""
    since: float | None = None
    """When the first decision of this memory was made, in seconds since 1970."""
    clock: float = 0.0
    """The latest `now` that was seen. A clock that goes back changes nothing."""
    needs: tuple[tuple[float, int], ...] = ()
    """When how many replicas were needed, newest last, as far as the window goes; only the maxima that still count."""
    ups: tuple[tuple[float, int], ...] = ()
    """When the target was raised, and from what."""
    downs: tuple[tuple[float, int], ...] = ()
    """When the target was lowered, and from what."""
    guarded_at: float | None = None
    """When the guard of the time to the first token last asked for one more."""
    late_since: float | None = None
    """Since when the time to the first token is above the target."""
    blind_since: float | None = None
    """Since when nothing at all is known."""
    fit: Fit = field(default_factory=Fit)
    """What replicas do in a second, learnt from what they said."""
    week: Week = field(default_factory=Week)
    """What was needed in the past week."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleDecision:
    """How many replicas there should be, and why."""

    replicas: int
    reason: str
    """One sentence with the numbers that count. It changes with the decision, not with every sample."""
    limit: Limit
    terms: Terms
    memory: ScalingMemory
