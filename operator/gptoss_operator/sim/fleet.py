"""The life of replicas: created, on a machine, ready, drained, gone; and what they cost."""

import functools
from collections.abc import Callable
from typing import Final

from gptoss_operator.core.memory import STARTS_KEPT
from gptoss_operator.core.placement.places import CapacityType, Interruption, Place, Stage
from gptoss_operator.core.placement.policy import Prices
from gptoss_operator.core.scaling.supply import ColdStart
from gptoss_operator.core.starts import cold_start
from gptoss_operator.sim import luck
from gptoss_operator.sim.agenda import Agenda
from gptoss_operator.sim.cloud import Cloud
from gptoss_operator.sim.contract import Scenario
from gptoss_operator.sim.errors import ScenarioError
from gptoss_operator.sim.gateway import Gateway
from gptoss_operator.sim.replica import Replica


UNSEEN_SECONDS: Final = 2.0
"""How long gateways send requests to a machine that is gone without a word: until two probes in a row have failed."""


class Fleet:
    """All replicas, and the bills of those that are gone."""

    def __init__(
        self,
        scenario: Scenario,
        agenda: Agenda,
        gateway: Gateway,
        seed: int,
        *,
        drains: bool,
        ask: Callable[[float], None],
    ) -> None:
        """`drains`: whether replicas heed notices. `ask` is called when a replica is ready or a machine goes."""
        self._scenario = scenario
        self._agenda = agenda
        self._gateway = gateway
        self._seed = seed
        self._epoch = scenario.start_of_week
        self._drains = drains
        self._ask = ask
        self.cloud = Cloud(
            scenario.market, agenda, seed, on_granted=self._have_machine, on_reclaimed=self._lose_machine
        )
        self.replicas: dict[int, Replica] = {}
        """Those that exist, by slot."""
        self.created = 0
        self.interruptions = 0
        self.told: list[Interruption] = []
        """Interruptions that were noticed since this was last emptied."""
        self.starts: list[float] = []
        """Seconds from creation to readiness, waiting for a machine included; the latest ones."""
        self.cost = 0.0
        self.hours = dict.fromkeys(CapacityType, 0.0)
        self.unready_hours = 0.0
        self.wakes: list[float] = []
        """How long the oldest held request had waited when the first replica was ready."""
        self._from_zero = False

    def add_ready(self, place: Place) -> None:
        """Add a replica that is ready at the beginning."""
        replica = self._new(place, 0.0)
        self.cloud.put(replica)
        replica.granted_at = 0.0
        self._become_ready(replica, 0.0)

    def create(self, place: Place, now: float) -> None:
        """Create one more replica."""
        self.cloud.ask(self._new(place, now), now)

    def remove(self, slot: int, now: float) -> bool:
        """Let a replica go: once it has finished, if it is ready. Return whether there was anything to do."""
        replica = self.replicas.get(slot)
        if replica is None or replica.stage is Stage.DOOMED:
            return False
        if replica.stage is not Stage.READY:
            self._end(replica, now)
        elif not replica.is_dead(now):
            self._drain(replica, now)
        return True

    def wanted(self) -> None:
        """Take in that requests begin to be held."""
        self._from_zero = not self.kept()

    def kept(self) -> int:
        """Return how many replicas stay as far as anybody knows."""
        return sum(replica.stage is not Stage.DOOMED for replica in self.replicas.values())

    def cold_start(self) -> ColdStart:
        """Return how long starts took that were seen."""
        return cold_start(self.starts)

    def close_books(self, end: float) -> None:
        """Bill the machines that are still there."""
        for replica in self.replicas.values():
            self._bill(replica, end)

    def _new(self, place: Place, now: float) -> Replica:
        drawn = luck.launch(self._seed, self.created, self._scenario.stages, self._scenario.market)
        replica = Replica(self.created, place, now, drawn=drawn, model=self._scenario.replica)
        price_of(self._scenario.prices, place)
        self.created += 1
        self.replicas[replica.slot] = replica
        return replica

    def _have_machine(self, replica: Replica, now: float) -> None:
        replica.granted_at = now
        replica.enter(Stage.STARTING, now)
        self._agenda.add(now + replica.drawn.load + replica.drawn.warm, functools.partial(self._start_serving, replica))

    def _start_serving(self, replica: Replica, now: float) -> None:
        if replica.gone or replica.stage is not Stage.STARTING or replica.is_dead(now):
            return
        self.starts = [*self.starts, now - replica.created_at][-STARTS_KEPT:]
        self._become_ready(replica, now)
        self._ask(now)

    def _become_ready(self, replica: Replica, now: float) -> None:
        replica.ready_at = now
        replica.at_gateway = True
        replica.enter(Stage.READY, now)
        oldest = None if self._gateway.open else self._gateway.oldest()
        if oldest is not None and self._from_zero:
            self.wakes.append(now - oldest.at)
        self._gateway.start(replica.batch, now)

    def _lose_machine(self, replica: Replica, now: float) -> None:
        """Take in that the cloud takes a machine: with notice, or at once."""
        self.interruptions += 1
        if replica.drawn.unnoticed:
            self._die(replica, now)
            return
        replica.ends_at = now + self._scenario.market.notice_seconds
        self._agenda.add(replica.ends_at, functools.partial(self._die, replica))
        if not self._drains:
            return
        self._tell(replica, now)
        if replica.stage is Stage.READY:
            self._drain(replica, now)
        elif replica.stage is Stage.STARTING:
            self._end(replica, now)

    def _drain(self, replica: Replica, now: float) -> None:
        """Let a replica finish what it has, for as long as it may."""
        replica.enter(Stage.DOOMED, now)
        self._agenda.add(now + self._scenario.drain_seconds, functools.partial(self._break_off, replica))
        self._gateway.close(replica.batch, now, functools.partial(self._end, replica))

    def _break_off(self, replica: Replica, now: float) -> None:
        """End what a drained replica still has, and its machine."""
        if not replica.gone:
            self._gateway.break_off(replica.batch, now)
            self._end(replica, now)

    def _die(self, replica: Replica, now: float) -> None:
        """Let a machine be gone."""
        if replica.gone:
            return
        replica.ends_at = now
        if replica.stage is Stage.DOOMED:
            self._break_off(replica, now)
            return
        self._bill(replica, now)
        self.cloud.give_back(replica, now)
        if replica.at_gateway:
            self._gateway.kill(replica.batch, now)
        self._agenda.add(now + UNSEEN_SECONDS, functools.partial(self._see_death, replica))

    def _see_death(self, replica: Replica, now: float) -> None:
        if replica.gone:
            return
        self._tell(replica, now)
        if replica.at_gateway:
            self._gateway.break_off(replica.batch, now)
        replica.gone = True
        del self.replicas[replica.slot]

    def _tell(self, replica: Replica, now: float) -> None:
        self.told.append(Interruption(zone=replica.zone, pool=replica.place.pool, at=self._epoch + now))
        self._ask(now)

    def _end(self, replica: Replica, now: float) -> None:
        """Give a replica's machine back, or the order for one."""
        if replica.gone:
            return
        replica.gone = True
        self._bill(replica, now)
        self.cloud.give_back(replica, now)
        del self.replicas[replica.slot]

    def _bill(self, replica: Replica, end: float) -> None:
        if replica.granted_at is None or replica.billed:
            return
        replica.billed = True
        hours = (end - replica.granted_at) / 3600.0
        place = Place(capacity=replica.place.capacity, zone=replica.zone, pool=replica.place.pool)
        self.cost += hours * price_of(self._scenario.prices, place)
        self.hours[replica.place.capacity] += hours
        self.unready_hours += ((end if replica.ready_at is None else replica.ready_at) - replica.granted_at) / 3600.0


def price_of(prices: Prices, place: Place) -> float:
    """Return dollars per hour at `place`. Machines of any kind cost what on-demand ones do.

    Raises `ScenarioError` where there is no price.
    """
    found = prices.known(place)
    if found is None and place.capacity is CapacityType.ANY:
        found = prices.known(Place(capacity=CapacityType.ON_DEMAND, zone=place.zone, pool=place.pool))
    if found is None:
        raise ScenarioError(
            f"there is no price for {place.capacity} machines in zone {place.zone or 'any'}, pool"
            f" {place.pool or 'any'}: add it to the scenario's prices"
        )
    return found
