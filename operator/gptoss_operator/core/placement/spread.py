"""Spot replicas spread over zones: which one leaves, and which one moves to an emptier zone."""

from typing import Final

from gptoss_operator.core.placement.cover import presence as present
from gptoss_operator.core.placement.cover import total
from gptoss_operator.core.placement.draft import Draft
from gptoss_operator.core.placement.market import Standing
from gptoss_operator.core.placement.places import CapacityType, PlacedReplica, Stage
from gptoss_operator.core.placement.victims import victim_order
from gptoss_operator.core.placement.words import for_spot, surplus
from gptoss_operator.core.placement.zones import SPREAD_WEIGHT, burden, lowest_price


ON_THE_WAY: Final = (Stage.PENDING, Stage.STARTING)
ROUNDING: Final = 1e-9


def spread_out(draft: Draft, wanted: int) -> None:
    """Create one replica in an emptier zone, where one has more than its share.

    One in the fuller zone leaves when it is ready, as surplus, and then the next one moves. A zone that gave no machine
    is tried again this way, even if no further replica is wanted.
    """
    market = draft.market
    if not wanted or any(replica.stage in ON_THE_WAY for replica in draft.spot):
        return
    lowest = lowest_price(draft.offers)
    burdens = {
        offer: burden(offer, market, draft.spot_in_zone[offer.key[0]], wanted, lowest)
        for offer in draft.usable(draft.pending)
    }
    if not burdens:
        return
    best = min(burdens, key=lambda offer: (burdens[offer], offer.key))
    fullest = max(
        (
            burden(offer, market, draft.spot_in_zone[offer.key[0]] - 1, wanted, lowest)
            for offer in draft.offers
            if draft.spot_in_zone[offer.key[0]]
        ),
        default=0.0,
    )
    if fullest - burdens[best] >= SPREAD_WEIGHT / wanted - ROUNDING:
        draft.create(best.place, for_spot(market, best.place))


def remove_spot(draft: Draft, wanted: int) -> None:
    """Remove spot replicas beyond those that are wanted, as far as the rest counts as that many.

    Of replicas that serve alike, those in the fullest zone leave first. One that is on its way to an emptier zone
    stays: another one leaves for it.
    """
    market = draft.market
    there = total(present(replica, market) for replica in draft.spot) + draft.created(CapacityType.SPOT)
    while there > wanted:
        gone = _remove_first(draft, there, wanted)
        if gone is None:
            return
        there -= present(gone, market)


def _remove_first(draft: Draft, there: float, wanted: int) -> PlacedReplica | None:
    """Remove the first one without which those that count as `there` are enough, and return it. None: there is none."""
    for replica in sorted(draft.spot, key=lambda r: _order(draft, r)):
        enough = there - present(replica, draft.market) >= wanted
        if enough and not _moves(draft, replica) and draft.remove(replica, surplus(draft.target)):
            return replica
    return None


def _order(draft: Draft, replica: PlacedReplica) -> tuple[int, bool, int, float, int]:
    stage, safe, in_flight, slot = victim_order(replica, draft.market)
    return stage, safe, -draft.spot_in_zone[draft.key(replica)[0]], in_flight, slot


def _moves(draft: Draft, replica: PlacedReplica) -> bool:
    """Return whether a replica is on its way to where there are fewer than elsewhere."""
    if replica.stage not in ON_THE_WAY:
        return False
    key = draft.key(replica)
    good = draft.market.standing(key) in (Standing.OPEN, Standing.PROBE)
    return good and draft.spot_in_zone[key[0]] < max(draft.spot_in_zone.values())
