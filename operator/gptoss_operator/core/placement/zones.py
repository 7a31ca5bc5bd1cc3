"""Where the next replica goes: pool and zone by price, spread and hazard."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gptoss_operator.core.placement.market import Key, Market, Standing, key_of
from gptoss_operator.core.placement.places import CapacityType, Place
from gptoss_operator.core.placement.policy import PlacementPolicy


SPREAD_WEIGHT: Final = 1.0
"""What having all spot replicas in one zone costs, in units of the lowest price."""
HAZARD_WEIGHT: Final = 2.0
"""What one expected loss within a cold start costs, in units of the lowest price."""
PAY_OFF_FACTOR: Final = 2.0
"""How many times over what is saved until the next loss must pay the start that it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Spot machines of one pool in one zone."""

    key: Key
    place: Place
    price: float
    """Dollars per replica and hour, assumed where it is not known."""
    hazard: float
    standing: Standing
    pays: bool
    """Whether what is saved there until the next loss is worth a cold start."""


def offers_of(market: Market) -> tuple[Offer, ...]:
    """Return all spot machines that the policy allows, in the order of pools and zones."""
    policy = market.policy
    on_demand = on_demand_price(policy)
    return tuple(_offer(market, zone, pool, on_demand) for pool in policy.pools for zone in (policy.zones or ("",)))


def _offer(market: Market, zone: str, pool: str, on_demand_price: float) -> Offer:
    place = Place(capacity=CapacityType.SPOT, zone=zone, pool=pool)
    key = key_of(market.policy, place)
    price, hazard = market.policy.prices.assumed(place), market.hazard(key)
    cold_hours = market.cold_start.p50_seconds / 3600
    saved = on_demand_price - price
    return Offer(
        key=key,
        place=place,
        price=price,
        hazard=hazard,
        standing=market.standing(key),
        # Without on-demand machines to stand in there is nothing to weigh it against.
        pays=not market.policy.fallback or saved > hazard * PAY_OFF_FACTOR * cold_hours * price,
    )


def usable(offers: Sequence[Offer], policy: PlacementPolicy, pending: Counter[Key]) -> list[Offer]:
    """Return where a spot machine may be asked for now: where it pays, and nothing speaks against it.

    A zone that gave none last time is asked for one at a time. Where nothing stands in for spot machines, a suspect
    zone is better than none.
    """
    good = [
        offer
        for offer in offers
        if offer.pays
        and (offer.standing is Standing.OPEN or (offer.standing is Standing.PROBE and not pending[offer.key]))
    ]
    if good or policy.fallback:
        return good
    return [offer for offer in offers if offer.standing is Standing.SUSPECT]


def best_of(offers: Sequence[Offer], market: Market, in_zone: Counter[str], wanted: int) -> Offer | None:
    """Return the offer for one more replica, where `in_zone` says how many there are and `wanted` how many in all."""
    if not offers:
        return None
    lowest = lowest_price(offers)
    return min(offers, key=lambda offer: (burden(offer, market, in_zone[offer.key[0]], wanted, lowest), offer.key))


def burden(offer: Offer, market: Market, there: int, wanted: int, lowest: float) -> float:
    """Return what one more replica costs beside `there` others in its zone, in units of the price `lowest`."""
    spread = SPREAD_WEIGHT * there / max(1, wanted)
    risk = HAZARD_WEIGHT * offer.hazard * market.lead_hours
    return offer.price / lowest + spread + risk


def lowest_price(offers: Sequence[Offer]) -> float:
    """Return the lowest price of `offers`, or 1 where there is none."""
    return min((offer.price for offer in offers), default=1.0) or 1.0


def free_pools(market: Market, pending: Counter[Key]) -> list[str]:
    """Return the pools that on-demand machines may be asked of now, the cheapest first."""
    policy = market.policy
    free = [pool for pool in policy.pools if _may_ask(market, key_of(policy, _on_demand(pool)), pending)]
    return sorted(free, key=lambda pool: policy.prices.assumed(_on_demand(pool)))


def on_demand_place(market: Market, pending: Counter[Key]) -> Place:
    """Return where the next replica goes that is not on a spot machine. Where no pool gives any, to the cheapest."""
    policy = market.policy
    free = free_pools(market, pending) or sorted(policy.pools, key=lambda pool: policy.prices.assumed(_on_demand(pool)))
    capacity = CapacityType.ON_DEMAND if policy.spot else CapacityType.ANY
    return Place(capacity=capacity, pool=free[0])


def _may_ask(market: Market, key: Key, pending: Counter[Key]) -> bool:
    standing = market.standing(key)
    return standing is Standing.OPEN or (standing is Standing.PROBE and not pending[key])


def on_demand_price(policy: PlacementPolicy) -> float:
    """Return what an on-demand replica costs in an hour, at the cheapest pool."""
    return min(policy.prices.assumed(_on_demand(pool)) for pool in policy.pools)


def _on_demand(pool: str) -> Place:
    return Place(capacity=CapacityType.ON_DEMAND, pool=pool)
