"""What replicas cost."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_operator.core.placement.cost import Cost, CostMemory, charge, cost_now
from gptoss_operator.core.placement.places import Place
from gptoss_operator.core.placement.policy import Prices
from tests.placement.world import ANYWHERE, NOW, ON_DEMAND, PRICES, spot


def charged(
    seconds: float, *places: Place | None, prices: Prices = PRICES, tokens: float = 0.0, step: float = 60.0
) -> tuple[CostMemory, float]:
    """Return the memory after `seconds` with replicas at `places` that generated `tokens`, and the moment."""
    memory, now, end = CostMemory(), NOW, NOW + seconds
    while now <= end:
        memory = charge(memory, places, prices, tokens * (now - NOW) / seconds, now)
        now += step
    return memory, end


def test_an_hour_costs_what_its_machines_cost() -> None:
    memory, now = charged(3600, ON_DEMAND, spot("a"), spot("b"), None, tokens=2_000_000)
    cost = cost_now(memory, now)
    assert cost.hourly == 3.0 + 1.2 + 1.1
    assert cost.saved_last_day is not None
    assert math.isclose(cost.saved_last_day, 9.0 - 5.3)
    assert cost.per_million_output_tokens is not None
    assert math.isclose(cost.per_million_output_tokens, 5.3 / 2)


def test_nothing_is_known_before_the_first_charge() -> None:
    assert cost_now(CostMemory(), NOW) == Cost(hourly=None, per_million_output_tokens=None, saved_last_day=None)


def test_what_has_no_price_has_no_cost() -> None:
    only_spot = Prices(table={spot(): 1.2})
    memory, now = charged(600, spot("a"), prices=only_spot, tokens=1000)
    cost = cost_now(memory, now)
    assert cost.hourly == 1.2
    assert cost.saved_last_day is None
    assert cost.per_million_output_tokens is not None
    memory, now = charged(600, ON_DEMAND, spot("a"), prices=only_spot, tokens=1000)
    assert cost_now(memory, now) == Cost(hourly=None, per_million_output_tokens=None, saved_last_day=None)


def test_a_machine_of_no_known_kind_is_on_demand_only_where_spot_has_no_price() -> None:
    memory, _ = charged(60, ANYWHERE, prices=Prices(table={ON_DEMAND: 3.0}))
    assert memory.hourly == 3.0
    memory, _ = charged(60, ANYWHERE)
    assert memory.hourly is None


def test_without_tokens_there_is_no_price_per_token() -> None:
    memory, now = charged(3600, ON_DEMAND)
    assert cost_now(memory, now).per_million_output_tokens is None
    memory = charge(memory, [ON_DEMAND], PRICES, None, now + 60)
    assert cost_now(memory, now + 60).per_million_output_tokens is None


def test_a_counter_that_is_missing_for_a_while_loses_no_tokens() -> None:
    memory = charge(CostMemory(), [ON_DEMAND], PRICES, 1000, NOW)
    memory = charge(memory, [ON_DEMAND], PRICES, None, NOW + 60)
    memory = charge(memory, [ON_DEMAND], PRICES, 3000, NOW + 120)
    assert sum(bucket.tokens for bucket in memory.buckets) == 2000


def test_a_counter_that_begins_again_counts_no_negative_tokens() -> None:
    memory = charge(CostMemory(), [ON_DEMAND], PRICES, 1000, NOW)
    memory = charge(memory, [ON_DEMAND], PRICES, 10, NOW + 60)
    assert sum(bucket.tokens for bucket in memory.buckets) == 0


def test_a_clock_that_goes_back_charges_nothing() -> None:
    memory, now = charged(3600, ON_DEMAND)
    before = sum(bucket.dollars or 0.0 for bucket in memory.buckets)
    memory = charge(memory, [ON_DEMAND], PRICES, 0, now - 3600)
    assert sum(bucket.dollars or 0.0 for bucket in memory.buckets) == before
    memory = charge(memory, [ON_DEMAND], PRICES, 0, now - 3600 + 60)
    assert math.isclose(sum(bucket.dollars or 0.0 for bucket in memory.buckets), before + 3.0 / 60)


def test_a_gap_without_watching_is_charged_in_part_only() -> None:
    memory = charge(CostMemory(), [ON_DEMAND], PRICES, 0, NOW)
    memory = charge(memory, [ON_DEMAND], PRICES, 0, NOW + 36_000)
    assert memory.buckets[-1].dollars == 3.0 / 4


def test_a_day_is_kept_and_no_more() -> None:
    memory, now = charged(2 * 86_400, spot("a"), step=300)
    assert len(memory.buckets) <= 289
    saved = cost_now(memory, now).saved_last_day
    assert saved is not None
    assert math.isclose(saved, 24 * 1.8, rel_tol=0.01)


@given(moments=st.lists(st.floats(NOW - 1e6, NOW + 1e6), max_size=30), tokens=st.none() | st.floats(0, 1e9))
@settings(deadline=None)
def test_no_order_of_moments_costs_less_than_nothing(moments: list[float], tokens: float | None) -> None:
    memory = CostMemory()
    for moment in moments:
        memory = charge(memory, [ON_DEMAND, spot("a")], PRICES, tokens, moment)
    assert all((bucket.dollars or 0) >= 0 and bucket.tokens >= 0 for bucket in memory.buckets)
    assert len(memory.buckets) <= 300
