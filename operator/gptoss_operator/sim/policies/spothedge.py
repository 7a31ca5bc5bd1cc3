"""SpotHedge: SkyServe's request-rate autoscaler over spot machines with on-demand fallback.

Its law, from `FallbackRequestRateAutoscaler` in `sky/serve/autoscalers.py` and `DynamicFallbackSpotPlacer` in
`sky/serve/spot_placer.py` of skypilot-org/skypilot (the paper: arXiv 2411.01438), every 20 s:

    N     = the request rate's target (see skyserve.py)
    spot  = N + num_overprovision - base_ondemand_fallback_replicas
    on demand = min(base_ondemand_fallback_replicas + max(0, spot - READY spot), N)
    zone  = the cheapest active one without a replica, else the cheapest active one; a preemption or a refused launch
            makes a zone inactive, a launch that succeeds makes it active, and fewer than two active ones all active

SkyServe does not look at notices: a replica takes requests until its machine is gone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from gptoss_operator.core.placement.places import CapacityType, Place, PlacedReplica, Stage
from gptoss_operator.core.placement.policy import Prices
from gptoss_operator.sim.contract import Orders, View
from gptoss_operator.sim.policies.fleet import ON_DEMAND, on_spot, ready, staying, victims
from gptoss_operator.sim.policies.skyserve import DECISION_SECONDS, RequestRate


LEAST_ACTIVE = 2


@dataclass(kw_only=True)
class Placer:
    """Upstream's `dynamic_fallback`: which zone the next spot replica is asked for in."""

    zones: tuple[str, ...]
    prices: Prices
    inactive: set[str] = field(default_factory=set)

    def failed(self, zone: str) -> None:
        """Take in that `zone` took a machine away, or gave none."""
        self.inactive.add(zone)
        if len(self.zones) - len(self.inactive) < LEAST_ACTIVE:
            self.inactive.clear()

    def worked(self, zone: str) -> None:
        """Take in that `zone` gave a machine."""
        self.inactive.discard(zone)

    def next_zone(self, used: Iterable[str]) -> str:
        """Return the cheapest active zone, one that is not among `used` if there is any. Ties go by name."""
        taken = set(used)
        active = [zone for zone in self.zones if zone not in self.inactive]
        return min(
            [zone for zone in active if zone not in taken] or active,
            key=lambda zone: (self.prices.assumed(Place(capacity=CapacityType.SPOT, zone=zone)), zone),
        )


@dataclass(kw_only=True)
class SpotHedge:
    """The autoscaler and the placer together."""

    rate: RequestRate
    overprovision: int = 2
    base_on_demand: int = 0
    name: str = "spothedge"
    interval_seconds: float = DECISION_SECONDS
    eager: ClassVar[bool] = False
    drains_on_notice: ClassVar[bool] = False
    _placer: Placer | None = field(default=None, init=False)
    _granted: set[int] = field(default_factory=set, init=False)

    def decide(self, view: View) -> Orders:
        """Return what to do now."""
        placer = self._placer = self._placer or Placer(zones=view.zones or ("",), prices=view.prices)
        existing = staying(view)
        gone = self._learn(placer, view, existing)
        existing = [replica for replica in existing if replica.slot not in gone]
        target = self.rate.follow(view.load)
        spot = [replica for replica in existing if on_spot(replica)]
        other = [replica for replica in existing if not on_spot(replica)]
        wanted = max(0, target + self.overprovision - self.base_on_demand)
        covered = self.base_on_demand + max(0, wanted - ready(spot))
        covered = min(covered, target)
        creates = self._spot_places(placer, spot, wanted - len(spot))
        creates += (ON_DEMAND,) * max(0, covered - len(other))
        removes = (*gone, *victims(spot, len(spot) - wanted), *victims(other, len(other) - covered))
        return Orders(creates=creates, removes=removes, target=target)

    def _learn(self, placer: Placer, view: View, existing: list[PlacedReplica]) -> tuple[int, ...]:
        """Tell the placer what happened. Return the slots of launches that failed: SkyServe ends those."""
        for replica in existing:
            if on_spot(replica) and replica.stage is not Stage.PENDING and replica.slot not in self._granted:
                placer.worked(replica.place.zone)
                self._granted.add(replica.slot)
        self._granted &= {replica.slot for replica in existing}
        for interruption in view.interruptions:
            placer.failed(interruption.zone)
        refused = {place.zone for place in view.refused if place.capacity is CapacityType.SPOT}
        for zone in sorted(refused):
            placer.failed(zone)
        return tuple(
            replica.slot
            for replica in existing
            if on_spot(replica) and replica.stage is Stage.PENDING and replica.place.zone in refused
        )

    @staticmethod
    def _spot_places(placer: Placer, spot: list[PlacedReplica], count: int) -> tuple[Place, ...]:
        used = [replica.place.zone for replica in spot]
        places: list[Place] = []
        for _ in range(count):
            zone = placer.next_zone(used)
            used.append(zone)
            places.append(Place(capacity=CapacityType.SPOT, zone=zone))
        return tuple(places)
