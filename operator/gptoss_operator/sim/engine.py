"""The simulation of one policy in one scenario."""

import heapq
import math
import time
from typing import Final

from gptoss_operator.core.placement.places import CapacityType, Place
from gptoss_operator.sim.agenda import Agenda
from gptoss_operator.sim.batch import Job
from gptoss_operator.sim.contract import Orders, Point, Policy, Progress, Result, Scenario
from gptoss_operator.sim.errors import ScenarioError
from gptoss_operator.sim.fleet import Fleet
from gptoss_operator.sim.gateway import Gateway
from gptoss_operator.sim.tally import Tally
from gptoss_operator.sim.traffic import in_columns
from gptoss_operator.sim.watch import Watch


POINT_SECONDS: Final = 60.0
"""Between two points of the plots."""
REVERSAL_SECONDS: Final = 600.0
"""A change of the target against the last one is a reversal if it comes within this time."""


def simulate(scenario: Scenario, policy: Policy, seed: int, *, progress: Progress | None = None) -> Result:
    """Return what comes of `policy` in `scenario`.

    Equal arguments give equal results, but for `decide_seconds`. Chance depends on the seed alone, so that results of
    several policies with one seed can be compared pair by pair.

    Raises `ScenarioError` if the requests are not in the order of time or the duration is none, and for a machine
    without a price.
    """
    return _Simulation(scenario, policy, seed, progress).run()


class _Simulation:
    """One run."""

    def __init__(self, scenario: Scenario, policy: Policy, seed: int, progress: Progress | None) -> None:
        if not 0 < scenario.duration < math.inf:
            raise ScenarioError(f"duration of scenario {scenario.name} is {scenario.duration}: give seconds above 0")
        self.scenario = scenario
        self.policy = policy
        self.seed = seed
        self.progress = progress
        self.traffic = in_columns(scenario.requests)
        self.agenda = Agenda()
        self.tally = Tally(scenario.ttft_seconds)
        self.gateway = Gateway(self.agenda, self.tally, wake_patience=scenario.wake_patience_seconds, on_held=self.held)
        self.fleet = Fleet(
            scenario, self.agenda, self.gateway, seed, drains=policy.drains_on_notice, ask=self.ask_eagerly
        )
        self.watch = Watch(scenario, self.traffic.at, self.gateway, self.fleet)
        self.asked = False
        self.targets = _Targets(scenario.initial_replicas)
        self.actions = 0
        self.decide_seconds: list[float] = []
        self.points: list[Point] = []
        self.now = 0.0

    def run(self) -> Result:
        """Return what comes of it."""
        for _ in range(self.scenario.initial_replicas):
            self.fleet.add_ready(Place(capacity=CapacityType.ON_DEMAND))
        self.agenda.add(0.0, self.tick)
        self.agenda.add(POINT_SECONDS, self.mark)
        requests = self.take_requests()
        end = self.scenario.duration
        self.agenda.run_until(end)
        for job in self.gateway.leftovers():
            self.tally.end(job, end)
        self.fleet.close_books(end)
        return self.result(requests)

    def take_requests(self) -> int:
        """Let requests come and everything happen that is due before them. Return how many came."""
        traffic, gateway = self.traffic, self.gateway
        heap, pop = self.agenda.heap, heapq.heappop
        end, patience = self.scenario.duration, self.scenario.patience_seconds
        last, number = 0.0, 0
        for at, prompt, generation in traffic.rows:
            if at < last:
                raise ScenarioError(f"request {number + 1} comes at {at} s, before the one before it: sort by time")
            if at >= end:
                break
            last = at
            while heap[0][0] <= at:
                when, _, event = pop(heap)
                event(when)
            gateway.arrive(Job(number, at, prompt, max(1, generation), at + patience), at)
            number += 1
        return number

    def tick(self, now: float) -> None:
        """Ask the policy, and again after its interval."""
        self.agenda.add(now + self.policy.interval_seconds, self.tick)
        self.decide(now)

    def held(self, now: float) -> None:
        """Take in that requests begin to be held."""
        self.fleet.wanted()
        if not self.watch.is_blind(now):
            self.ask_eagerly(now)

    def ask_eagerly(self, now: float) -> None:
        """Ask an eager policy as soon as everything that happens now has happened."""
        if self.policy.eager and not self.asked:
            self.asked = True
            self.agenda.add(now, self.decide)

    def decide(self, now: float) -> None:
        """Ask the policy, and do what it says."""
        self.asked = False
        view = self.watch.view(now)
        begun = time.perf_counter()
        orders = self.policy.decide(view)
        self.decide_seconds.append(time.perf_counter() - begun)
        self.carry_out(orders, now)

    def carry_out(self, orders: Orders, now: float) -> None:
        """Create and remove replicas."""
        for place in orders.creates:
            self.fleet.create(place, now)
        self.actions += len(orders.creates)
        self.actions += sum(self.fleet.remove(slot, now) for slot in orders.removes)
        target = self.fleet.kept() if orders.target is None else orders.target
        self.targets.take(target, now, blind=self.watch.is_blind(now))

    def mark(self, now: float) -> None:
        """Note a point of the plots."""
        self.agenda.add(now + POINT_SECONDS, self.mark)
        if self.progress is not None:
            self.progress(min(1.0, now / self.scenario.duration))
        replicas = self.fleet.replicas.values()
        spot = sum(replica.is_spot for replica in replicas)
        self.points.append(
            Point(
                at=now,
                arrivals=self.watch.rate(now, POINT_SECONDS) or 0.0,
                waiting=self.gateway.waiting,
                running=self.gateway.in_flight,
                target=self.targets.target,
                on_demand=len(replicas) - spot,
                spot=spot,
                ready=len(self.gateway.open),
            )
        )

    def result(self, requests: int) -> Result:
        """Return what came of it."""
        scenario, tally, fleet = self.scenario, self.tally, self.fleet
        return Result(
            policy=self.policy.name,
            scenario=scenario.name,
            seed=self.seed,
            synthetic=scenario.market.synthetic,
            requests=requests,
            served=tally.served,
            within_target=tally.within_target,
            failed=tally.failed,
            lost=tally.lost,
            retried=tally.retried,
            ttft_p50=tally.ttft(0.5),
            ttft_p95=tally.ttft(0.95),
            ttft_p99=tally.ttft(0.99),
            itl_p99=tally.itl(0.99),
            cost=fleet.cost,
            output_tokens=tally.output_tokens,
            on_demand_hours=fleet.hours[CapacityType.ON_DEMAND] + fleet.hours[CapacityType.ANY],
            spot_hours=fleet.hours[CapacityType.SPOT],
            unready_hours=fleet.unready_hours,
            actions=self.actions,
            reversals=self.targets.reversals,
            scale_downs=self.targets.downs,
            interruptions=fleet.interruptions,
            held=tally.held,
            held_lost=tally.held_lost,
            wakes=tuple(fleet.wakes),
            decide_seconds=tuple(self.decide_seconds),
            points=tuple(self.points),
            notes={"scale_downs_in_blackouts": self.targets.blind_downs},
        )


class _Targets:
    """How the target went."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.downs = 0
        self.blind_downs = 0
        self.reversals = 0
        self._rose = False
        self._changed_at = -math.inf

    def take(self, target: int, now: float, *, blind: bool) -> None:
        """Take in the target of one decision."""
        if target == self.target:
            return
        rises = target > self.target
        if rises is not self._rose and now - self._changed_at <= REVERSAL_SECONDS:
            self.reversals += 1
        if not rises:
            self.downs += 1
            self.blind_downs += blind
        self.target, self._rose, self._changed_at = target, rises, now
