"""Which replica leaves first."""

import math
from typing import Final

from gptoss_operator.core.placement.market import Market, Standing, key_of
from gptoss_operator.core.placement.places import CapacityType, PlacedReplica, Stage


STAGE_ORDER: Final = {
    Stage.DOOMED: 0,
    Stage.LOST: 1,
    Stage.FAILING: 2,
    Stage.PENDING: 3,
    Stage.STARTING: 4,
    Stage.READY: 5,
}
"""What serves least goes first."""


def victim_order(replica: PlacedReplica, market: Market) -> tuple[int, bool, float, int]:
    """Return the order of removal: the first goes first.

    What serves nobody, then what will be lost anyway, then what has the fewest requests. One whose requests are not
    known may have many.
    """
    in_flight = replica.in_flight
    known = in_flight is not None and math.isfinite(in_flight)
    return (
        STAGE_ORDER[replica.stage],
        not endangered(replica, market),
        in_flight if known and in_flight is not None else math.inf,
        -replica.slot,
    )


def endangered(replica: PlacedReplica, market: Market) -> bool:
    """Return whether its machine is more likely than others to be taken away soon."""
    if replica.at_risk:
        return True
    if replica.place.capacity is not CapacityType.SPOT:
        return False
    return market.standing(key_of(market.policy, replica.place, replica.zone)) is Standing.SUSPECT
