"""Ours: the functions of `core` that the operator calls, with their memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from gptoss_operator.core.placement.decision import MarketMemory, Placement
from gptoss_operator.core.placement.placement import decide_placement
from gptoss_operator.core.placement.places import CapacityType, Place, PlacedReplica, Stage
from gptoss_operator.core.placement.policy import PlacementPolicy, Prices
from gptoss_operator.core.scaling.decision import ScaleDecision, ScalingMemory
from gptoss_operator.core.scaling.policy import ScalingPolicy
from gptoss_operator.core.scaling.replicas import decide_replicas
from gptoss_operator.core.scaling.supply import Supply
from gptoss_operator.sim.contract import Orders, View
from gptoss_operator.sim.policies.fleet import staying


@dataclass(kw_only=True)
class Ours:
    """`decide_replicas`, then `decide_placement`, each time."""

    scaling: ScalingPolicy
    placement: PlacementPolicy
    name: str = "ours"
    interval_seconds: float = 5.0
    """Between two passes of the operator."""
    eager: ClassVar[bool] = True
    drains_on_notice: ClassVar[bool] = True
    scale: ScaleDecision | None = field(default=None, init=False)
    """The last decision on how many, for whom asks why."""
    place: Placement | None = field(default=None, init=False)
    """The last decision on where."""
    _removed: frozenset[int] = field(default=frozenset(), init=False)

    def decide(self, view: View) -> Orders:
        """Return what to do now. Prices and zones that the policy leaves open are those of the market."""
        policy = self._completed(view)
        memory = self.scale.memory if self.scale else ScalingMemory()
        supply = self._supply(view, policy)
        scale = self.scale = decide_replicas(self.scaling, view.load, supply, memory, view.now)
        place = self.place = decide_placement(
            policy,
            scale.replicas,
            needed_now=scale.terms.needed,
            replicas=self._known(view.replicas),
            interruptions=view.interruptions,
            refused=view.refused,
            memory=self.place.memory if self.place else MarketMemory(),
            cold_start=view.cold_start,
            now=view.now,
        )
        removes = tuple(remove.slot for remove in place.removes)
        self._removed = (self._removed | set(removes)) & {replica.slot for replica in view.replicas}
        return Orders(creates=tuple(create.place for create in place.creates), removes=removes, target=scale.replicas)

    def _known(self, replicas: Sequence[PlacedReplica]) -> tuple[PlacedReplica, ...]:
        """Return the replicas that were not removed yet: a StatefulSet that is deleted is no replica any more."""
        return tuple(replica for replica in replicas if replica.slot not in self._removed)

    def _supply(self, view: View, policy: PlacementPolicy) -> Supply:
        kept = self._known(view.replicas)
        stages = [replica.stage for replica in kept]
        return Supply(
            existing=len(staying(view)),
            ready=stages.count(Stage.READY),
            starting=stages.count(Stage.PENDING) + stages.count(Stage.STARTING),
            unsettled=Stage.DOOMED in stages or Stage.LOST in stages,
            replica_hourly_cost=_dearest(policy.prices, policy.pools),
            cold_start=view.cold_start,
        )

    def _completed(self, view: View) -> PlacementPolicy:
        policy = self.placement
        if policy.prices == Prices() or (policy.spot and not policy.zones):
            prices = view.prices if policy.prices == Prices() else policy.prices
            policy = self.placement = replace(policy, prices=prices, zones=policy.zones or view.zones)
        return policy


def _dearest(prices: Prices, pools: Sequence[str]) -> float | None:
    """Return the price of an on-demand replica, None where there is none."""
    known = [prices.known(Place(capacity=CapacityType.ON_DEMAND, pool=pool)) for pool in pools]
    return max((price for price in known if price is not None), default=None)
