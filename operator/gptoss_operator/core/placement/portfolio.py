"""How many replicas are on demand for good, and how many spot ones are wanted beyond the target."""

import math
from collections.abc import Collection, Sequence
from typing import Final

from gptoss_operator.core.placement.market import Market, Standing
from gptoss_operator.core.placement.zones import Offer


CALM_HAZARD: Final = 1.5
"""Interruptions of a zone per hour up to which the base is as small as the spec says."""
BASE_PER_HAZARD: Final = 0.8
"""Share of the replicas that moves to the base for each interruption per hour beyond."""
BASE_SHARE_MAX: Final = 0.6
SAFEST: Final = 2
"""Zones that are looked at: a market is hostile if even its safest zones are."""


LEAST_ZONES: Final = 2
"""Fewer that give machines are a single risk."""
ONE_ZONE_SHARE: Final = 0.5
"""Share of the replicas that moves to the base while all spot ones would be lost at once."""


def spread_zones(offers: Sequence[Offer], held: Collection[str]) -> list[Offer]:
    """Return the offers that spot replicas are or can be spread over: those of zones that give machines or hold some.

    `held` are zones where replicas have machines. A zone that is losing them now counts until it has refused one.
    """
    return [
        offer
        for offer in offers
        if offer.pays and (offer.standing in (Standing.OPEN, Standing.SUSPECT) or offer.key[0] in held)
    ]


def base_of(market: Market, target: int, offers: Sequence[Offer], held: Collection[str]) -> int:
    """Return how many replicas spot machines never replace. It grows while the market is hostile."""
    policy = market.policy
    if not policy.spot:
        return target
    safest = sorted(offer.hazard for offer in offers)[:SAFEST]
    hostility = sum(safest) / len(safest) - CALM_HAZARD
    share = min(max(BASE_PER_HAZARD * hostility, 0.0), BASE_SHARE_MAX)
    if len(policy.zones) > 1 and len({offer.key[0] for offer in spread_zones(offers, held)}) == 1:
        share = max(share, ONE_ZONE_SHARE)
    share = share if policy.fallback else 0.0
    return min(target, max(policy.base_on_demand, math.ceil(target * share)))


def extra_of(market: Market, need: int, offers: Sequence[Offer], held: Collection[str], on_demand_price: float) -> int:
    """Return how many spot replicas beyond `need` cost least: their price and the expected shortfall's penalty.

    The shortfall is that until a replacement is ready, over all subsets of zones that may be lost. Replicas are taken
    to be spread evenly over the zones that give machines.
    """
    policy = market.policy
    if need <= 0 or policy.max_extra <= 0:
        return 0
    zones = sorted(spread_zones(offers, held), key=lambda offer: (offer.hazard, offer.key))
    if not zones:
        return 0
    losses = [market.loss(offer.key) for offer in zones]
    # Where one zone is left, the next is taken to be back soon: what it will need is not given away meanwhile.
    losses += losses[:1] * (LEAST_ZONES - len(losses))
    price = min(offer.price for offer in zones) / on_demand_price if on_demand_price else 1.0
    best, lowest = 0, math.inf
    for extra in range(policy.max_extra + 1):
        if extra * price >= lowest:
            break
        cost = extra * price + policy.shortfall_penalty * expected_shortfall(need, need + extra, losses)
        if cost < lowest:
            best, lowest = extra, cost
    return best


def expected_shortfall(need: int, replicas: int, losses: Sequence[float]) -> float:
    """Return how many of `need` replicas are missing on average, with `replicas` spread evenly over zones.

    `losses` are the chances that all replicas of a zone are lost, independent of each other. Equal sums of survivors
    are taken together, so that the number of subsets does not matter.
    """
    each, left = divmod(replicas, len(losses))
    chances = {0: 1.0}
    for index, loss in enumerate(losses):
        here = each + (index < left)
        if not here:
            break
        after: dict[int, float] = {}
        for survivors, chance in chances.items():
            after[survivors] = after.get(survivors, 0.0) + chance * loss
            after[survivors + here] = after.get(survivors + here, 0.0) + chance * (1 - loss)
        chances = after
    return sum(chance * (need - survivors) for survivors, chance in chances.items() if survivors < need)
