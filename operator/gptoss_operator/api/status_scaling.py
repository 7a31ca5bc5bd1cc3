"""What the status says of scaling: decisions, machines, zones, starts and costs."""

from typing import Annotated

from pydantic import Field

from gptoss_operator.api.base import ApiModel


class DecisionStatus(ApiModel):
    """One change of the number or the places of replicas."""

    at: str = Field(json_schema_extra={"format": "date-time"})
    """When it was decided."""
    previous: int
    """Replicas that were wanted before."""
    replicas: int
    """Replicas that are wanted since."""
    reason: str = Field(max_length=1024)
    """Why, in words."""
    terms: dict[str, Annotated[str, Field(max_length=32)]] = Field(default_factory=dict, max_length=32)
    """The numbers that it was made of, by name."""
    dry_run: bool | None = None
    """True: it was decided and not carried out."""


class CapacityStatus(ApiModel):
    """Replicas of one capacity type."""

    desired: int
    """Replicas that are wanted on such machines."""
    ready: int
    """Replicas on such machines that answer requests."""


class ZoneStatus(ApiModel):
    """What is known of spot machines of one zone, and outlives a restart of the operator."""

    zone: str
    """Name of the zone. Empty: zones are not told apart. `OnDemand`: the on-demand machines of a pool."""
    pool: str = ""
    """Pool of GPUs. Empty: there is but one."""
    interruptions_per_hour: str
    """How often machines there are taken away, those within three minutes together, as it is reckoned with."""
    exposure_hours: str
    """Hours with at least one replica there, older ones counting less."""
    events: str
    """Interruptions there, those within three minutes being one, older ones counting less."""
    suspect_until: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    """Until when it is avoided, since it took a machine away."""
    blocked_until: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    """Until when it is not asked for machines, since none came."""


class ColdStartStatus(ApiModel):
    """How long replicas take from their creation until they are ready."""

    p50_seconds: int
    """Half of them take no longer."""
    p90_seconds: int
    """Nine of ten take no longer."""
    starts: int
    """Starts that this is known from, at most 50."""


class CostStatus(ApiModel):
    """What replicas cost, in dollars by spec.prices or the operator's own table."""

    hourly: str
    """For an hour with the replicas of now."""
    per_million_output_tokens: str | None = None
    """By the tokens and the cost of the last hour. Absent: there were none."""
    saved_last_day: str | None = None
    """Saved in the last 24 hours, or since the operator started, against the same replicas on on-demand machines."""
