"""What the placed replicas are to the decision on their number."""

from collections.abc import Sequence
from typing import Final

from gptoss_operator.core.placement.places import STAYING, PlacedReplica, Stage
from gptoss_operator.core.scaling.supply import ColdStart, Supply


LOSS_SECONDS: Final = 600.0
"""How long the loss of a replica keeps others from being removed. A node may stay silent for ever."""


def supply_of(
    placed: Sequence[PlacedReplica],
    *,
    outdated: bool,
    cold_start: ColdStart,
    replica_hourly_cost: float | None,
    now: float,
) -> Supply:
    """Return what there is to serve the load. A replica that is about to go, or is gone, is no supply.

    `outdated`: whether a replica is still to be replaced by one of another revision.
    """
    stays = [r for r in placed if r.stage in STAYING]
    return Supply(
        existing=len(stays),
        ready=sum(r.stage is Stage.READY for r in stays),
        starting=sum(r.stage in (Stage.PENDING, Stage.STARTING) for r in stays),
        unsettled=outdated or any(_is_loss(r, now) for r in placed),
        replica_hourly_cost=replica_hourly_cost,
        cold_start=cold_start,
    )


def _is_loss(replica: PlacedReplica, now: float) -> bool:
    """Return whether a replica is about to go, or was lost a moment ago."""
    lost_lately = replica.stage is Stage.LOST and now - replica.since < LOSS_SECONDS
    return replica.stage is Stage.DOOMED or lost_lately
