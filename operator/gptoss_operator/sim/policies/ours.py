"""Ours: the functions of `core` that the operator calls, with their memory."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.core.placement.decision import MarketMemory, Placement
from gptoss_operator.core.placement.placement import decide_placement
from gptoss_operator.core.placement.places import CapacityType, Place, PlacedReplica
from gptoss_operator.core.placement.policy import PlacementPolicy, Prices
from gptoss_operator.core.placement.supply import supply_of
from gptoss_operator.core.policies import placement_policy, scaling_policy
from gptoss_operator.core.scaling.decision import ScaleDecision, ScalingMemory
from gptoss_operator.core.scaling.policy import ScalingPolicy
from gptoss_operator.core.scaling.replicas import decide_replicas
from gptoss_operator.sim.contract import Orders, View


@dataclass(kw_only=True)
class Ours:
    """`decide_replicas`, then `decide_placement`, each time. Zones that the policy leaves open are the market's."""

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
    _removed: set[int] = field(default_factory=set, init=False)

    def decide(self, view: View) -> Orders:
        """Return what to do now."""
        self._removed &= {replica.slot for replica in view.replicas}
        # What was removed is no replica any more, as a StatefulSet that was deleted; its pod drains on its own.
        kept = tuple(self._asked(replica) for replica in view.replicas if replica.slot not in self._removed)
        if self.placement.spot and not self.placement.zones:
            self.placement = replace(self.placement, zones=view.zones)
        scale = self.scale = decide_replicas(
            self.scaling,
            view.load,
            supply_of(
                kept,
                outdated=False,
                cold_start=view.cold_start,
                replica_hourly_cost=self.placement.dearest(),
                now=view.now,
            ),
            self.scale.memory if self.scale else ScalingMemory(),
            view.now,
        )
        place = self.place = decide_placement(
            self.placement,
            scale.replicas,
            needed_now=scale.terms.fully_used,
            replicas=kept,
            interruptions=view.interruptions,
            refused=view.refused,
            memory=self.place.memory if self.place else MarketMemory(),
            cold_start=view.cold_start,
            now=view.now,
        )
        removes = tuple(remove.slot for remove in place.removes)
        self._removed.update(removes)
        creates = tuple(_bought(create.place) for create in place.creates)
        return Orders(creates=creates, removes=removes, target=scale.replicas)

    def _asked(self, replica: PlacedReplica) -> PlacedReplica:
        """Return a replica as it was asked for. Without spot, the policy asks for any machine and pays on demand."""
        if self.placement.spot:
            return replica
        return replace(replica, place=replace(replica.place, capacity=CapacityType.ANY))


def ours_of(spec: GptOssSpec, *, gpus: int, prices: Prices, name: str = "ours") -> Ours:
    """Return what a deployment of `spec` does, with replicas of `gpus` GPUs."""
    scaling = scaling_policy(spec, gpus)
    if spec.replicas is not None:
        scaling = replace(scaling, min_replicas=spec.replicas, max_replicas=spec.replicas)
    return Ours(scaling=scaling, placement=placement_policy(spec, prices=prices, zones=()), name=name)


def _bought(place: Place) -> Place:
    if place.capacity is CapacityType.ANY:
        return replace(place, capacity=CapacityType.ON_DEMAND)
    return place
