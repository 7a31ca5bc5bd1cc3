"""How many replicas there are: `spec.scaling`."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gptoss_operator.api.base import ApiModel, Price
from gptoss_operator.api.rules import Rule


Day = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", max_length=5)]
"""Hours and minutes, such as `08:30`."""


class ScalingTarget(ApiModel):
    """What scaling aims at."""

    queue_depth: int = Field(default=4, ge=0, le=100000)
    """Requests that may wait for each ready replica without another one being started."""
    time_to_first_token_milliseconds: int = Field(default=5000, ge=10, le=3600000)
    """Wished 95th percentile of the time to the first token. One more replica is started while it is longer."""
    time_per_output_token_milliseconds: int = Field(default=50, ge=1, le=60000)
    """Wished time for each further token. A replica is counted on for no more requests at once than keep it."""
    utilization_percent: int = Field(default=75, ge=10, le=100)
    """Share of its throughput that a replica is counted on for. Lower: dearer, and calmer when load rises."""
    backlog_seconds: int = Field(default=60, ge=5, le=3600)
    """Within which time the waiting requests above queueDepth are to be served."""


class ScaleUpSpec(ApiModel):
    """How fast replicas are added."""

    replicas: int = Field(default=2, ge=1, le=1000)
    """At most the greater of `replicas` and `percent` within periodSeconds."""
    percent: int = Field(default=100, ge=0, le=10000)
    """See replicas."""
    period_seconds: int = Field(default=60, ge=5, le=3600)
    """See replicas."""


class ScaleDownSpec(ApiModel):
    """How fast replicas are removed."""

    stabilization_seconds: int = Field(default=1800, ge=0, le=86400)
    """The greatest need within this time counts, and at least within two usual cold starts."""
    replicas: int = Field(default=1, ge=1, le=1000)
    """At most the greater of `replicas` and `percent` within periodSeconds."""
    percent: int = Field(default=25, ge=0, le=100)
    """See replicas."""
    period_seconds: int = Field(default=120, ge=5, le=3600)
    """See replicas."""


class ScheduleSpec(ApiModel):
    """Other bounds during a weekly window. Where several hold, the greatest of their minima and maxima count."""

    name: str = Field(min_length=1, max_length=63)
    """What it is called in decisions."""
    time_zone: str = Field(default="UTC", min_length=1, max_length=64)
    """IANA name, such as `Europe/Berlin`."""
    days: tuple[Day, ...] = Field(default=("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), max_length=7)
    """Days on which it begins."""
    start: TimeOfDay = "00:00"
    """When it begins, such as `08:00`."""
    end: TimeOfDay = "00:00"
    """When it ends. Not after `start`: on the next day."""
    min_replicas: int | None = Field(default=None, ge=0, le=1000)
    """Replicas that exist at least. Default: as without the schedule."""
    max_replicas: int | None = Field(default=None, ge=1, le=1000)
    """Replicas that exist at most. Default: as without the schedule."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.minReplicas) || has(self.maxReplicas)", "set minReplicas, maxReplicas or both"),
        Rule(
            "!has(self.maxReplicas) || !has(self.minReplicas) || self.maxReplicas >= self.minReplicas",
            "must be at least minReplicas",
            field="maxReplicas",
        ),
    )


class PredictionSpec(ApiModel):
    """What is counted on beyond the load of now."""

    trend: bool = True
    """Follow a rising rate for the time of half a cold start."""
    same_time_last_week: bool = False
    """Count what was needed at this time a week ago, too."""


class BudgetSpec(ApiModel):
    """What the replicas may take together."""

    max_gpus: int | None = Field(default=None, ge=1, le=100000)
    """GPUs of all replicas."""
    max_hourly_cost: Price | None = None
    """Dollars per hour for all replicas, such as `40.00`. Needs spec.prices."""


class ScalingSpec(ApiModel):
    """How many replicas there are. With maxReplicas above minReplicas, it follows the load."""

    min_replicas: int = Field(default=1, ge=0, le=1000)
    """Replicas that always exist. Zero: none while nobody asks; the gateway holds requests until one has started."""
    max_replicas: int | None = Field(default=None, ge=1, le=1000)
    """Replicas that exist at most. Default: minReplicas, but at least one."""
    target: ScalingTarget = ScalingTarget()
    """What scaling aims at."""
    up: ScaleUpSpec = ScaleUpSpec()
    """How fast replicas are added."""
    down: ScaleDownSpec = ScaleDownSpec()
    """How fast replicas are removed."""
    idle_seconds: int = Field(default=900, ge=10, le=604800)
    """After how long without any request the last replica goes, where minReplicas is 0."""
    fallback_replicas: int | None = Field(default=None, ge=0, le=1000)
    """Replicas when nothing was measured for five minutes. Fewer are never removed for it. Default: as many as there
    are."""
    schedules: tuple[ScheduleSpec, ...] = Field(
        default=(),
        max_length=32,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    """Weekly windows with other bounds."""
    prediction: PredictionSpec = PredictionSpec()
    """What is counted on beyond the load of now."""
    budget: BudgetSpec = BudgetSpec()
    """What the replicas may take together."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.maxReplicas) || !has(self.minReplicas) || self.maxReplicas >= self.minReplicas",
            "must be at least minReplicas",
            field="maxReplicas",
        ),
    )

    @property
    def usual_most(self) -> int:
        """Replicas that exist at most while no schedule says otherwise."""
        return self.max_replicas or max(1, self.min_replicas)
