"""Scenarios of a few lines, and policies that do as they are told."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gptoss_operator.core.placement.places import CapacityType, Place
from gptoss_operator.core.placement.policy import Prices
from gptoss_operator.sim.contract import Market, Orders, ReplicaModel, Scenario, Stages, View, ZoneChange
from gptoss_operator.sim.traffic import Traffic


ON_DEMAND = Place(capacity=CapacityType.ON_DEMAND)
PRICES = Prices(table={ON_DEMAND: 10.0, Place(capacity=CapacityType.SPOT): 4.0})
EXACT = Stages(machine=100.0, load=120.0, warm=50.0, sigma=0.0)
"""Cold starts of 270 s."""
COLD = 270.0
TENTH = ReplicaModel(base_seconds=0.1, per_request_seconds=0.0, prefill_tokens_per_second=1000.0)
"""Ten tokens per second for every request, however many there are."""


def spot(zone: str = "a") -> Place:
    return Place(capacity=CapacityType.SPOT, zone=zone)


def a_market(
    changes: Iterable[tuple[float, str, int]] = (),
    *,
    zones: tuple[str, ...] = ("a", "b"),
    hazard: float = 0.0,
    notice: float = 120.0,
    missing: float = 0.0,
    spread: float = 0.0,
    refusal: float = 0.0,
) -> Market:
    return Market(
        name="by hand",
        synthetic=True,
        zones=zones,
        changes=tuple(ZoneChange(at=at, zone=zone, machines=machines) for at, zone, machines in changes),
        machine_hazard_per_hour=hazard,
        notice_seconds=notice,
        notice_missing_share=missing,
        spread_seconds=spread,
        refusal_seconds=refusal,
    )


def a_scenario(
    requests: Iterable[tuple[float, int, int]] = (),
    *,
    duration: float = 1000.0,
    replica: ReplicaModel = TENTH,
    stages: Stages = EXACT,
    market: Market | None = None,
    initial: int = 1,
    patience: float = 60.0,
    ttft: float = 5.0,
    drain: float = 120.0,
    blackouts: tuple[tuple[float, float], ...] = (),
    start_of_week: float = 0.0,
) -> Scenario:
    """`requests`: when, tokens of the prompt, tokens of the answer."""
    return Scenario(
        name="by hand",
        requests=Traffic(requests),
        duration=duration,
        replica=replica,
        stages=stages,
        market=market or a_market(),
        prices=PRICES,
        ttft_seconds=ttft,
        patience_seconds=patience,
        drain_seconds=drain,
        initial_replicas=initial,
        blackouts=blackouts,
        start_of_week=start_of_week,
    )


@dataclass(kw_only=True)
class Told:
    """A policy that does what it is told at a time, and remembers what it saw."""

    at: dict[float, Orders] = field(default_factory=dict)
    """At the first decision from then on."""
    always: Callable[[View], Orders] | None = None
    interval_seconds: float = 10.0
    eager: bool = False
    drains_on_notice: bool = True
    name: str = "told"
    views: list[View] = field(default_factory=list)
    said: list[Orders] = field(default_factory=list)

    def decide(self, view: View) -> Orders:
        self.views.append(view)
        orders = self.always(view) if self.always else Orders()
        for when in sorted(self.at):
            if when <= view.now:
                orders = self.at.pop(when)
                break
        self.said.append(orders)
        return orders

    def seen(self, now: float) -> View:
        """Return the first view from `now` on."""
        return next(view for view in self.views if view.now >= now)
