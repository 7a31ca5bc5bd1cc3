"""How a deployment wants to be scaled. Numbers with the defaults of the CRD; times in seconds."""

from dataclasses import dataclass

from gptoss_operator.core.scaling.load import STALE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Other bounds during a weekly window."""

    name: str
    time_zone: str
    """IANA name, such as `Europe/Berlin`."""
    days: frozenset[int]
    """Days on which it begins; Monday is 0."""
    start_minute: int
    """When it begins, in minutes since midnight of its time zone."""
    end_minute: int
    """When it ends. Not after the start: on the next day."""
    min_replicas: int | None = None
    """None: as without the schedule."""
    max_replicas: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPolicy:
    """What `decide_replicas` goes by."""

    min_replicas: int = 1
    max_replicas: int = 1
    queue_depth: float = 4.0
    """Waiting requests per ready replica that need no further replica."""
    ttft_seconds: float = 5.0
    """Wished 95th percentile of the time to the first token."""
    itl_seconds: float = 0.05
    """Wished time per output token: no replica is counted on for more requests at once than keep it."""
    utilization: float = 0.75
    """Share of its throughput that a replica is counted on for."""
    backlog_seconds: float = 60.0
    """Within which time the waiting requests above `queue_depth` are to be served."""
    stale_seconds: float = STALE_SECONDS
    """Age from which a gateway's document says nothing."""
    dark_seconds: float = 300.0
    """How long nothing may be known until `fallback_replicas` count."""
    fallback_replicas: int | None = None
    """Replicas while nothing is known for long. None: as many as there are."""
    up_tolerance: float = 0.10
    """Share of one replica that may be missing."""
    down_tolerance: float = 0.15
    """Share of one replica that must be to spare beyond whole ones."""
    up_replicas: int = 2
    up_percent: int = 100
    up_period_seconds: float = 60.0
    """At most the greater of `up_replicas` and `up_percent` more within this time."""
    down_replicas: int = 1
    down_percent: int = 25
    down_period_seconds: float = 120.0
    """At most the greater of `down_replicas` and `down_percent` less within this time."""
    down_window_seconds: float = 1800.0
    """The greatest need within this time counts, and at least within two usual cold starts."""
    idle_seconds: float = 900.0
    """After how long without a request the last replica goes, where `min_replicas` is 0."""
    wake_seconds: float = 120.0
    """Within which time held requests are to be served after a start from zero."""
    follow_trend: bool = True
    """Whether a rising rate is followed for the time of half a cold start."""
    same_time_last_week: bool = False
    """Whether what was needed at this time a week ago counts too."""
    schedules: tuple[Schedule, ...] = ()
    gpus_per_replica: int = 1
    max_gpus: int | None = None
    max_hourly_cost: float | None = None
