"""Policies see nothing of the future."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from gptoss_operator.core.placement.policy import PlacementPolicy
from gptoss_operator.core.scaling.policy import ScalingPolicy
from gptoss_operator.sim.contract import Market, Orders, Policy, ReplicaModel, Scenario, View, ZoneChange
from gptoss_operator.sim.engine import simulate
from gptoss_operator.sim.made_up import synthetic_requests
from gptoss_operator.sim.market import MarketKind, synthetic_market
from gptoss_operator.sim.policies.ours import Ours
from gptoss_operator.sim.policies.skyserve import RequestRate
from gptoss_operator.sim.policies.spothedge import SpotHedge
from gptoss_operator.sim.traffic import Traffic, in_columns
from tests.sim.builders import PRICES, a_scenario, spot


DURATION = 3 * 3600.0


@dataclass
class Recorded:
    """A policy whose views and orders are kept."""

    policy: Policy
    seen: list[tuple[View, Orders]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = self.policy.name
        self.interval_seconds = self.policy.interval_seconds
        self.eager = self.policy.eager
        self.drains_on_notice = self.policy.drains_on_notice

    def decide(self, view: View) -> Orders:
        orders = self.policy.decide(view)
        self.seen.append((view, orders))
        return orders


def ours() -> Policy:
    return Ours(scaling=ScalingPolicy(max_replicas=12), placement=PlacementPolicy(spot=True, prices=PRICES))


def spot_hedge() -> Policy:
    return SpotHedge(rate=RequestRate(qps_per_replica=1.0))


def a_past() -> Scenario:
    replica = ReplicaModel(base_seconds=0.02, per_request_seconds=0.002, max_num_seqs=16)
    requests = synthetic_requests(DURATION, peak_per_second=6.0, seed=4, answer_mean=120.0)
    market = synthetic_market(MarketKind.HARSH, duration=DURATION, seed=11)
    return replace(
        a_scenario(duration=DURATION, replica=replica, market=replace(market, machine_hazard_per_hour=0.1)),
        requests=requests,
    )


def other_outages(market: Market, after: float, stream: random.Random) -> Market:
    """Return the market with other changes after a time."""
    past = tuple(change for change in market.changes if change.at <= after)
    future = sorted(
        (
            ZoneChange(at=stream.uniform(after, DURATION), zone=zone, machines=stream.choice((0, 1, 5, 40)))
            for zone in market.zones * 4
        ),
        key=lambda change: change.at,
    )
    return replace(market, changes=past + tuple(c for c in future if c.at > after))


def other_requests(requests: Sequence[object], after: float, stream: random.Random) -> Traffic:
    """Return the requests with others after a time."""
    assert isinstance(requests, Traffic)
    past = [row for row in in_columns(requests).rows if row[0] <= after]
    times = sorted(stream.uniform(after, DURATION) for _ in range(len(past) or 1))
    return Traffic([*past, *((at, stream.randint(1, 9000), stream.randint(1, 2000)) for at in times if at > after)])


@pytest.mark.parametrize("policy", [ours, spot_hedge])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_pitfall_32_decisions_before_a_moment_do_not_depend_on_what_comes_after(
    policy: Callable[[], Policy], share: float
) -> None:
    past = a_past()
    after = DURATION * share
    stream = random.Random(share)  # noqa: S311 - nothing is secret about it
    future = replace(
        past,
        market=other_outages(past.market, after, stream),
        requests=other_requests(past.requests, after, stream),
    )
    one, other = Recorded(policy()), Recorded(policy())
    simulate(past, one, 1)
    simulate(future, other, 1)
    before = [(view, orders) for view, orders in one.seen if view.now <= after]
    assert len(before) > 100
    assert any(view.interruptions or view.refused for view, _ in before)
    assert [(view, orders) for view, orders in other.seen if view.now <= after] == before
    assert one.seen[len(before) :] != other.seen[len(before) :]


@dataclass
class Churn:
    """A policy that asks for machines in all zones all the time, and gives the oldest ones back."""

    name: str = "churn"
    interval_seconds: float = 60.0
    eager: bool = False
    drains_on_notice: bool = True

    def decide(self, view: View) -> Orders:
        old = [replica.slot for replica in view.replicas if view.now - replica.created_at > 600.0]
        return Orders(creates=tuple(spot(zone) for zone in view.zones), removes=tuple(old))


def test_pitfall_32_nobody_learns_of_an_outage_before_it_begins_however_often_machines_are_asked_for() -> None:
    rows = synthetic_requests(DURATION, peak_per_second=0.5, seed=4, answer_mean=60.0)
    past = replace(a_past(), requests=rows)
    one = Recorded(Churn())
    simulate(past, one, 1)
    assert not all(view.refused for view, _ in one.seen)
    begins = sorted({change.at for change in past.market.changes if change.machines == 0 and change.at > 60})
    assert len(begins) >= 4
    for begin in begins:
        after = begin - 1.0
        stream = random.Random(begin)  # noqa: S311 - nothing is secret about it
        other = Recorded(Churn())
        future = replace(
            past, market=other_outages(past.market, after, stream), requests=other_requests(rows, after, stream)
        )
        simulate(future, other, 1)
        before = [(view, orders) for view, orders in one.seen if view.now <= after]
        assert [(view, orders) for view, orders in other.seen if view.now <= after] == before
