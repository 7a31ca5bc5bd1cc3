"""What spot replicas are counted as."""

import math
from collections.abc import Iterable
from typing import Final

from gptoss_operator.core.placement.market import Key, Market, Standing, key_of, overdue
from gptoss_operator.core.placement.places import PlacedReplica, Stage


GRANTED: Final = 0.97
"""Chance that one that has its machine becomes ready."""
AT_RISK: Final = 0.5
"""What one is counted as whose cloud says that it may go: a successor is started, and it serves on."""
COLD_CACHE: Final = 0.7
"""What the successor of a lost one is counted as at first: the prefixes that its requests share are not cached yet.

It keeps on-demand replicas that are there. None is started for it: the cache is warm before that one is ready.
"""
COLD_CACHE_SECONDS: Final = 300.0
TOLERANCE: Final = 0.3
"""Share of one replica that may be missing."""
TOLERANCE_SHARE: Final = 0.05
"""Share of all that may be missing, where that is more."""
ROUNDING: Final = 1e-9


def missing(wanted: float, cover: float) -> int:
    """Return how many replicas `cover` is short of `wanted`, by more than what may be missing."""
    tolerance = max(TOLERANCE, TOLERANCE_SHARE * wanted)
    return max(0, math.ceil(wanted - cover - tolerance - ROUNDING))


def grant_chance(market: Market, key: Key) -> float:
    """Return the chance that a machine which was asked for a moment ago comes."""
    match market.standing(key):
        case Standing.OPEN:
            return 1.0
        case Standing.PROBE:
            return 0.5
        case Standing.SUSPECT:
            return market.policy.suspect_survival
        case Standing.BLOCKED:
            return 0.0


def presence(replica: PlacedReplica, market: Market) -> float:
    """Return what a spot replica counts as when it is decided how many more to ask for."""
    if replica.stage in (Stage.PENDING, Stage.FAILING):
        return 1.0
    return _survival(replica, market)


def planned_cover(replica: PlacedReplica, market: Market) -> float:
    """Return what a spot replica counts as when it is decided whether another one stands in for it."""
    if replica.stage is Stage.PENDING:
        if overdue(market.policy, replica, market.now):
            return 0.0
        return grant_chance(market, key_of(market.policy, replica.place, replica.zone))
    return firm_cover(replica, market)


def firm_cover(replica: PlacedReplica, market: Market) -> float:
    """Return what a spot replica counts as by what it has: its machine at least."""
    if replica.stage is Stage.READY:
        return _survival(replica, market)
    return GRANTED * _survival(replica, market) if replica.stage is Stage.STARTING else 0.0


def settled_cover(replica: PlacedReplica, market: Market) -> float:
    """Return what a spot replica counts as when it is decided whether an on-demand one leaves for it."""
    if replica.stage is not Stage.READY or market.now - replica.since < market.policy.settle_seconds:
        return 0.0
    return _warmth(replica, market) * _survival(replica, market)


def total(weights: Iterable[float]) -> float:
    """Return the sum of `weights`, whatever their order."""
    return math.fsum(weights)


def _survival(replica: PlacedReplica, market: Market) -> float:
    if market.standing(key_of(market.policy, replica.place, replica.zone)) is Standing.SUSPECT:
        return market.policy.suspect_survival
    return AT_RISK if replica.at_risk else 1.0


def _warmth(replica: PlacedReplica, market: Market) -> float:
    """Return how much a ready replica does of what it will do when its cache is warm."""
    if market.now - replica.since >= COLD_CACHE_SECONDS or not market.follows_a_loss(replica.created_at):
        return 1.0
    return COLD_CACHE
