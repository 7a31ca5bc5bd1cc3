"""How replicas are to be spread over kinds of machines. Times in seconds, prices in dollars per replica and hour."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gptoss_operator.core.placement.places import CapacityType, Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a replica costs in an hour."""

    table: Mapping[Place, float] = field(default_factory=dict)
    """By place. One with an empty zone or pool holds for every zone or pool that has none of its own."""
    assumed_spot_share: float = 0.4
    """Price of spot in units of on-demand, where the table lacks one of them. Used to decide, never to report."""

    def known(self, place: Place) -> float | None:
        """Return the price of the most exact entry of the table, or None."""
        for zone, pool in ((place.zone, place.pool), ("", place.pool), (place.zone, ""), ("", "")):
            found = self.table.get(Place(capacity=place.capacity, zone=zone, pool=pool))
            if found is not None:
                return found
        return None

    def assumed(self, place: Place) -> float:
        """Return the price to decide by: the known one, else one derived from the other kind, else 1 and the share."""
        found = self._likely(place)
        if found is not None:
            return found
        spot = place.capacity is CapacityType.SPOT
        other = CapacityType.ON_DEMAND if spot else CapacityType.SPOT
        factor = self.assumed_spot_share if spot else 1 / self.assumed_spot_share
        counterpart = self._likely(Place(capacity=other, zone=place.zone, pool=place.pool))
        if counterpart is not None:
            return counterpart * factor
        return self.assumed_spot_share if spot else 1.0

    def _likely(self, place: Place) -> float | None:
        """Return the known price. In any zone, where only zones have prices, it is the lowest of theirs."""
        found = self.known(place)
        if found is not None or place.zone:
            return found
        for pool in dict.fromkeys((place.pool, "")):
            of_zones = [
                price for other, price in self.table.items() if (other.capacity, other.pool) == (place.capacity, pool)
            ]
            if of_zones:
                return min(of_zones)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementPolicy:
    """What `decide_placement` goes by."""

    spot: bool = False
    """Whether replicas may be on spot machines. If not, all are of capacity type Any."""
    base_on_demand: int = 1
    """Replicas that are never on spot machines."""
    fallback: bool = True
    """Whether on-demand machines stand in while spot ones are short."""
    pending_seconds: float = 180.0
    """How long a spot replica may be without a machine until its zone counts as having none."""
    on_demand_min_seconds: float = 600.0
    """How long an on-demand replica stays at least, before a spot one takes its place."""
    settle_seconds: float = 120.0
    """How long a spot replica must be ready before an on-demand one leaves for it."""
    max_extra: int = 4
    """Most spot replicas beyond the target against expected losses."""
    shortfall_penalty: float = 24.0
    """What a missing replica costs, in prices of an on-demand one: what extra replicas are weighed against."""
    zones: tuple[str, ...] = ()
    """Zones that spot replicas are spread over. Empty: not chosen by the operator."""
    suspect_seconds: float = 180.0
    """How long a zone that took a machine away is avoided, and its other machines are doubted."""
    suspect_survival: float = 0.3
    """Chance that is given to those other machines."""
    pools: tuple[str, ...] = ("",)
    """GPU pools of the spec, in its order."""
    prices: Prices = Prices()

    def dearest(self) -> float | None:
        """Return what a replica costs where it costs most, in dollars per hour. None: there is no price for it."""
        kinds = (CapacityType.ON_DEMAND, CapacityType.SPOT) if self.spot else (CapacityType.ON_DEMAND,)
        table = self.prices.table.items()
        return max((price for p, price in table if p.capacity in kinds and p.pool in ("", *self.pools)), default=None)
