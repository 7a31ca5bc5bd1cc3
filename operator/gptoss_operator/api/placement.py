"""Which machines replicas are on, and what they cost: `spec.spot`, `spec.gpu.pools` and `spec.prices`."""

from typing import Annotated, Literal

from pydantic import Field

from gptoss_operator.api.base import ApiModel, LabelValue, Price


LabelKey = Annotated[str, Field(pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$", max_length=317)]
ZoneName = Annotated[str, Field(min_length=1, max_length=63)]
PoolName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40)]


class GpuPool(ApiModel):
    """Machines with one type of GPU. All pools must hold the model with the same tensorParallel."""

    name: PoolName
    """What it is called in decisions and prices."""
    node_selector: dict[str, LabelValue] = Field(min_length=1, max_length=32)
    """Labels that its nodes have, beside those of spec.gpu.nodeSelector."""


class CapacityLabel(ApiModel):
    """A label of nodes that tells spot machines from on-demand ones, beside those that are known anyway."""

    key: LabelKey
    """Key of the label."""
    spot: tuple[LabelValue, ...] = Field(min_length=1, max_length=8)
    """Its values on spot machines."""
    on_demand: tuple[LabelValue, ...] = Field(default=(), max_length=8)
    """Its values on on-demand machines. Empty: they do not have the label."""


class SpotSpec(ApiModel):
    """Replicas on spot machines."""

    enabled: bool = False
    """Whether replicas beyond baseOnDemand go to spot machines, where there are any."""
    base_on_demand: int = Field(default=1, ge=0, le=1000)
    """Replicas that are never on spot machines."""
    fallback: Literal["OnDemand", "None"] = "OnDemand"
    """OnDemand: on-demand machines stand in while spot ones are short. None: replicas wait for spot machines."""
    fallback_seconds: int = Field(default=180, ge=5, le=3600)
    """How long a replica waits for a spot machine until an on-demand one is asked for."""
    return_seconds: int = Field(default=120, ge=0, le=86400)
    """How long a spot replica must be ready until an on-demand one leaves for it."""
    on_demand_min_seconds: int = Field(default=600, ge=0, le=86400)
    """How long an on-demand replica stays at least until it leaves for a spot one."""
    max_extra: int = Field(default=4, ge=0, le=100)
    """Most spot replicas beyond the number that is needed, against losses that are to be expected."""
    zones: tuple[ZoneName, ...] = Field(default=(), max_length=64)
    """Zones to spread spot replicas over. Default: those of the nodes and prices that are known."""
    zone_suspect_seconds: int = Field(default=180, ge=0, le=86400)
    """How long a zone that took a machine away is avoided."""
    labels: tuple[CapacityLabel, ...] = Field(
        default=(),
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["key"]},
    )
    """Further labels that tell spot machines from on-demand ones."""
    notice_taints: tuple[LabelKey, ...] = Field(default=(), max_length=32)
    """Keys of further taints that announce the end of a node."""
    notice_conditions: tuple[Annotated[str, Field(max_length=316)], ...] = Field(default=(), max_length=32)
    """Types of further node conditions that announce the end of a node when they are True."""


class PriceSpec(ApiModel):
    """What a GPU costs."""

    capacity_type: Literal["OnDemand", "Spot"]
    """How its machine is paid for."""
    pool: PoolName | None = None
    """Pool that it holds for. Default: all that have no price of their own."""
    zone: LabelValue | None = None
    """Zone that it holds for. Default: all that have no price of their own."""
    gpu_hour: Price
    """Dollars for one GPU and hour, such as `2.95`."""
