"""A placement while it is made: what is created and removed so far, and what must stay."""

from collections import Counter
from collections.abc import Sequence

from gptoss_operator.core.placement.decision import Create, Remove
from gptoss_operator.core.placement.market import Key, Market, key_of
from gptoss_operator.core.placement.places import STAYING, CapacityType, Place, PlacedReplica, Stage
from gptoss_operator.core.placement.policy import PlacementPolicy
from gptoss_operator.core.placement.zones import Offer, offers_of, usable


def fits(policy: PlacementPolicy, replica: PlacedReplica) -> bool:
    """Return whether the policy would ask for a place like that of `replica`.

    Without spot, an on-demand machine is one that any replica may be on.
    """
    place = replica.place
    if place.pool not in policy.pools:
        return False
    if not policy.spot:
        return place.capacity is not CapacityType.SPOT
    if place.capacity is CapacityType.ON_DEMAND:
        return True
    zone = place.zone or replica.zone
    return place.capacity is CapacityType.SPOT and (not policy.zones or not zone or zone in policy.zones)


class Draft:
    """What is created and removed so far."""

    def __init__(self, market: Market, target: int, replicas: Sequence[PlacedReplica]) -> None:
        self.market = market
        self.offers = offers_of(market) if market.policy.spot else ()
        self.target = target
        self.creates: list[Create] = []
        self.removes: list[Remove] = []
        self.ready = sum(replica.stage is Stage.READY for replica in replicas)
        self.pending: Counter[Key] = Counter()
        """Replicas that wait for a machine, by where they were asked for."""
        self.spot_in_zone: Counter[str] = Counter()
        self.on_demand: list[PlacedReplica] = []
        """Live ones whose place fits, on demand; without spot all of them."""
        self.spot: list[PlacedReplica] = []
        """Live ones whose place fits, on spot machines."""
        self.misplaced: list[PlacedReplica] = []
        """Live ones whose place does not fit the policy any more."""
        for replica in sorted(replicas, key=lambda r: r.slot):
            self._take_in(replica)

    def _take_in(self, replica: PlacedReplica) -> None:
        if replica.stage not in STAYING:
            return
        if not fits(self.market.policy, replica):
            self.misplaced.append(replica)
            return
        self._count(self.key(replica), replica.place, 1, pending=replica.stage is Stage.PENDING)
        (self.spot if replica.place.capacity is CapacityType.SPOT else self.on_demand).append(replica)

    def usable(self, pending: Counter[Key]) -> list[Offer]:
        """Return where a spot machine may be asked for now, with replicas that wait for one as in `pending`."""
        return usable(self.offers, self.market.policy, pending)

    def key(self, replica: PlacedReplica) -> Key:
        """Return what `replica`'s place is remembered under."""
        return key_of(self.market.policy, replica.place, replica.zone)

    def create(self, place: Place, reason: str) -> None:
        """Add one more replica."""
        self.creates.append(Create(place=place, reason=reason))
        self._count(key_of(self.market.policy, place), place, 1, pending=True)

    def remove(self, replica: PlacedReplica, reason: str) -> bool:
        """Take `replica` away and return True; False if it is ready and would be missing: then it stays."""
        if replica.stage is Stage.READY:
            if self.ready <= self.target:
                return False
            self.ready -= 1
        self.removes.append(Remove(slot=replica.slot, reason=reason))
        for group in (self.on_demand, self.spot):
            if replica in group:
                group.remove(replica)
                self._count(self.key(replica), replica.place, -1, pending=replica.stage is Stage.PENDING)
        if replica in self.misplaced:
            self.misplaced.remove(replica)
        return True

    def created(self, capacity: CapacityType) -> int:
        """Return how many replicas of a capacity type are created."""
        return sum(create.place.capacity is capacity for create in self.creates)

    def _count(self, key: Key, place: Place, number: int, *, pending: bool) -> None:
        if pending:
            self.pending[key] += number
        if place.capacity is CapacityType.SPOT:
            self.spot_in_zone[key[0]] += number
