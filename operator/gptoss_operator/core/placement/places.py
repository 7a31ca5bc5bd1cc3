"""Where a replica is or should be, and how far it is there."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class CapacityType(StrEnum):
    """How a machine is paid for."""

    ANY = "Any"
    """Not chosen by the operator: any machine that the spec's selectors allow."""
    ON_DEMAND = "OnDemand"
    SPOT = "Spot"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """What is asked of the machine of one replica."""

    capacity: CapacityType = CapacityType.ANY
    zone: str = ""
    """Empty: any."""
    pool: str = ""
    """Name of the GPU pool in the spec. Empty: there is but one."""


ANYWHERE: Final = Place()
"""Nothing is asked of the machine."""


class Stage(StrEnum):
    """How far a replica is."""

    PENDING = "Pending"
    """No machine yet."""
    STARTING = "Starting"
    """On a machine, not ready, with nothing wrong so far."""
    READY = "Ready"
    DOOMED = "Doomed"
    """Its machine will be taken away, or it leaves for another reason. No supply."""
    LOST = "Lost"
    """Neither the operator nor the gateways reach it any more. No supply, but it may come back."""
    FAILING = "Failing"
    """It will not become ready by itself."""


STAYING: Final = frozenset({Stage.PENDING, Stage.STARTING, Stage.READY, Stage.FAILING})
"""Stages of the replicas that count as existing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedReplica:
    """One replica that exists."""

    slot: int
    place: Place
    """What was asked for."""
    zone: str = ""
    """Where it is; where it was asked for while that is not known; else empty."""
    stage: Stage
    created_at: float
    """When its StatefulSet was created, in seconds since 1970."""
    since: float
    """When it came into `stage`."""
    in_flight: float | None = None
    """Requests that it has. None: not known."""
    at_risk: bool = False
    """Whether its cloud says that it is more likely than others to go soon (a rebalance recommendation)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """One spot machine was taken away or is going to be. Said once for each replica."""

    zone: str
    pool: str
    at: float
    """When it was noticed."""
