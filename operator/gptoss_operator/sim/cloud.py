"""The cloud: which spot machines can be had, and when they are taken away. Policies never see it.

On-demand machines always come. A spot machine is reserved when it is asked for, if its zone has one; if not, that is
told after the market's `refusal_seconds`, and the replica stays pending until one is free, first asked first served.
Machines of all GPU pools of a zone are counted together.
"""

import functools
import math
from collections.abc import Callable
from typing import Final

from gptoss_operator.core.placement.places import Place
from gptoss_operator.sim import luck
from gptoss_operator.sim.agenda import Agenda
from gptoss_operator.sim.contract import Market, ZoneChange
from gptoss_operator.sim.replica import Replica


ANY_ZONE: Final = ""


class Cloud:
    """Gives machines and takes them."""

    def __init__(
        self,
        market: Market,
        agenda: Agenda,
        seed: int,
        *,
        on_granted: Callable[[Replica, float], None],
        on_reclaimed: Callable[[Replica, float], None],
    ) -> None:
        """`on_granted`: a machine is there. `on_reclaimed`: the cloud decided to take one that was granted."""
        self._market = market
        self._agenda = agenda
        self._seed = seed
        self._on_granted = on_granted
        self._on_reclaimed = on_reclaimed
        self._capacity: dict[str, float] = dict.fromkeys(market.zones, math.inf)
        self._alive: dict[str, list[Replica]] = {zone: [] for zone in market.zones}
        self._waiting: list[Replica] = []
        self.refused = list[Place]()
        """Places that were refused since this was last emptied."""
        for number, change in enumerate(market.changes):
            agenda.add(change.at, self._changes(number, change))

    def ask(self, replica: Replica, now: float) -> None:
        """Ask for a machine."""
        if not replica.is_spot:
            self.put(replica)
            self._reserve(replica, now)
        elif not self._try(replica, now):
            self._refuse(replica, now)

    def put(self, replica: Replica) -> None:
        """Choose the zone of an on-demand replica, in turn where any will do."""
        zones = self._market.zones
        replica.zone = replica.place.zone or (zones[replica.slot % len(zones)] if zones else ANY_ZONE)

    def give_back(self, replica: Replica, now: float) -> None:
        """Take a machine back, or forget that one was asked for."""
        if replica in self._waiting:
            self._waiting.remove(replica)
        if replica.reserved_at is not None and replica.is_spot:
            self._alive[replica.zone].remove(replica)
            self._serve_waiting(replica.zone, now)
        replica.reserved_at = None

    def _try(self, replica: Replica, now: float) -> bool:
        """Reserve a spot machine, and return whether there was one."""
        zone = replica.place.zone
        if zone == ANY_ZONE and self._market.zones:
            zone = max(self._market.zones, key=self._free)
        if self._free(zone) < 1:
            return False
        replica.zone = zone
        self._alive.setdefault(zone, []).append(replica)
        self._reserve(replica, now)
        return True

    def _free(self, zone: str) -> float:
        return self._capacity.get(zone, math.inf) - len(self._alive.get(zone, ()))

    def _reserve(self, replica: Replica, now: float) -> None:
        replica.reserved_at = now

        def grant(at: float) -> None:
            # What was reserved may have been taken away meanwhile, and something else been reserved.
            if replica.gone or replica.reserved_at != now:
                return
            self._on_granted(replica, at)
            if replica.is_spot and replica.drawn.life < math.inf:
                self._agenda.add(at + replica.drawn.life, functools.partial(self._reclaim, replica))

        self._agenda.add(now + replica.drawn.machine, grant)

    def _reclaim(self, replica: Replica, now: float) -> None:
        if not replica.gone and replica.ends_at is None:
            replica.taken = True
            self._on_reclaimed(replica, now)

    def _refuse(self, replica: Replica, now: float) -> None:
        self._waiting.append(replica)

        def tell(_: float) -> None:
            if not replica.gone and replica.reserved_at is None:
                self.refused.append(replica.place)

        if self._market.refusal_seconds > 0:
            self._agenda.add(now + self._market.refusal_seconds, tell)
        else:
            tell(now)

    def _serve_waiting(self, zone: str, now: float) -> None:
        for replica in list(self._waiting):
            if replica.place.zone in {zone, ANY_ZONE} and self._try(replica, now):
                self._waiting.remove(replica)

    def _changes(self, number: int, change: ZoneChange) -> Callable[[float], None]:
        return functools.partial(self._change, number, change)

    def _change(self, number: int, change: ZoneChange, now: float) -> None:
        """Let a zone have `change.machines` from now on, and decide which surplus ones go."""
        self._capacity[change.zone] = change.machines
        staying = [replica for replica in self._alive.get(change.zone, ()) if not replica.taken]
        surplus = len(staying) - change.machines
        if surplus <= 0:
            self._serve_waiting(change.zone, now)
            return
        stream = luck.of_change(self._seed, number)
        told_at = now
        for replica in stream.sample(staying, surplus):
            later = now + stream.uniform(0.0, self._market.spread_seconds)
            if replica.granted_at is None:
                self._take_reservation(replica, now)
                continue
            replica.taken = True
            self._agenda.add(told_at, functools.partial(self._reclaim, replica))
            told_at = later

    def _take_reservation(self, replica: Replica, now: float) -> None:
        """Refuse a machine that was on its way."""
        self._alive[replica.zone].remove(replica)
        replica.reserved_at = None
        replica.zone = replica.place.zone
        self._refuse(replica, now)
