"""Whole simulations, small enough to be checked by hand."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_operator.core.placement.places import Stage
from gptoss_operator.core.scaling.load import Load
from gptoss_operator.sim.contract import Orders, ReplicaModel, Result, View
from gptoss_operator.sim.engine import simulate
from gptoss_operator.sim.errors import ScenarioError
from tests.sim.builders import COLD, ON_DEMAND, TENTH, Told, a_market, a_scenario, spot


def plain(result: Result) -> str:
    return json.dumps(dataclasses.asdict(replace(result, decide_seconds=())))


def test_time_to_the_first_token_is_queue_and_prompt_and_one_iteration() -> None:
    one_place = replace(TENTH, max_num_seqs=1)
    # The first takes 0.5 s for its prompt and 1 s for ten tokens; the second waits for it, and then as long.
    rows = [(10.0, 500, 10), (10.0, 500, 10)]
    result = simulate(a_scenario(rows, replica=one_place), Told(), 1)
    assert (result.ttft_p50, result.ttft_p99) == pytest.approx((0.6, 2.1), abs=0.0015)
    assert (result.served, result.output_tokens) == (2, 20)


def test_cost_is_hours_times_price_by_hand() -> None:
    # One on demand for 1000 s. One spot machine comes at 110 s and is ready at 280 s, is removed at 500 s with nothing
    # to do. One on demand is ordered at 900 s and has no machine before the end.
    orders = {10.0: Orders(creates=(spot(),)), 500.0: Orders(removes=(1,)), 950.0: Orders(creates=(ON_DEMAND,))}
    result = simulate(a_scenario(), Told(at=orders), 1)
    assert result.cost == pytest.approx(1000 / 3600 * 10.0 + 390 / 3600 * 4.0)
    assert (result.on_demand_hours, result.spot_hours) == pytest.approx((1000 / 3600, 390 / 3600))
    assert result.unready_hours == pytest.approx(170 / 3600)
    assert (result.actions, result.scale_downs, result.reversals) == (3, 1, 2)


def test_a_removed_replica_costs_until_its_last_request_has_ended() -> None:
    orders = {20.0: Orders(removes=(0,))}
    result = simulate(a_scenario([(10.0, 0, 500)], patience=1.0), Told(at=orders), 1)
    assert (result.served, result.lost) == (1, 0)
    assert result.on_demand_hours == pytest.approx(60 / 3600)


def test_a_removed_replica_breaks_off_what_outlasts_the_drain() -> None:
    orders = {20.0: Orders(removes=(0,))}
    result = simulate(a_scenario([(10.0, 0, 500)], drain=30.0), Told(at=orders), 1)
    assert (result.served, result.lost) == (0, 1)
    assert result.on_demand_hours == pytest.approx(50 / 3600)


def test_starts_go_through_their_stages_and_are_remembered() -> None:
    policy = Told(at={10.0: Orders(creates=(ON_DEMAND,))})
    simulate(a_scenario(), policy, 1)

    def stage(now: float) -> tuple[Stage, float]:
        replica = policy.seen(now).replicas[1]
        return replica.stage, replica.since

    assert [stage(20.0), stage(120.0), stage(290.0)] == [
        (Stage.PENDING, 10.0),
        (Stage.STARTING, 110.0),
        (Stage.READY, 280.0),
    ]
    cold = policy.seen(290.0).cold_start
    assert (cold.p50_seconds, cold.p90_seconds, cold.starts) == (COLD, COLD, 1)


def wake_up(view: View) -> Orders:
    return Orders(creates=(ON_DEMAND,)) if view.load.held and not view.replicas else Orders()


def test_a_start_from_zero_holds_requests_until_a_replica_is_ready() -> None:
    policy = Told(always=wake_up, eager=True, interval_seconds=100.0)
    result = simulate(a_scenario([(130.0, 0, 10), (150.0, 0, 10)], initial=0), policy, 1)
    assert (result.held, result.held_lost, result.served, result.wakes) == (2, 0, 2, (COLD,))
    assert result.ttft_p99 == pytest.approx(COLD + 0.1, abs=0.002)
    assert [view.now for view in policy.views[:3]] == [0.0, 100.0, 130.0]
    woken = policy.seen(200.0).load
    assert (woken.held, woken.queued, woken.oldest_wait_seconds, woken.idle_seconds) == (2, 0, 70.0, 0.0)


def test_held_requests_give_up_after_their_own_patience() -> None:
    result = simulate(a_scenario([(10.0, 0, 10), (200.0, 0, 10)], initial=0), Told(), 1)
    assert (result.held, result.held_lost, result.failed, result.ttft_p50) == pytest.approx((2, 2, 2, 800), abs=0.01)


def test_clients_give_up_that_wait_too_long_and_free_their_place() -> None:
    one_place = replace(TENTH, max_num_seqs=1)
    rows = [(10.0, 0, 1000), (20.0, 0, 10), (100.0, 0, 10)]
    result = simulate(a_scenario(rows, replica=one_place), Told(), 1)
    assert (result.served, result.failed, result.within_target) == (2, 1, 1)
    slow_prompt = a_scenario([(10.0, 100_000, 10), (11.0, 0, 10)], ttft=60.0)
    assert simulate(slow_prompt, Told(), 1).failed == 2


def test_a_blackout_hides_what_is_measured_but_not_the_replicas() -> None:
    rows = [(float(second), 0, 5) for second in range(10, 900)]
    policy = Told(at={450.0: Orders(target=0), 700.0: Orders(target=1)})
    result = simulate(a_scenario(rows, blackouts=((400.0, 600.0),)), policy, 1)
    assert policy.seen(500.0).load == Load(gateway_age_seconds=101.0)
    assert [replica.stage for replica in policy.seen(500.0).replicas] == [Stage.READY]
    assert policy.seen(500.0).replicas[0].in_flight is None
    after = policy.seen(600.0).load
    assert after.arrivals_1m == pytest.approx(1.0, abs=0.02)
    assert after.replicas[0].running is not None
    assert (result.scale_downs, result.notes["scale_downs_in_blackouts"]) == (1, 1)


def test_the_idle_clock_runs_on_evidence_without_a_gap() -> None:
    policy = Told()
    simulate(a_scenario([(99.5, 0, 10)], blackouts=((400.0, 600.0),)), policy, 1)
    idle = [policy.seen(now).load.idle_seconds for now in (90.0, 100.0, 390.0, 500.0, 600.0, 700.0)]
    assert idle == [90.0, 0.0, pytest.approx(289.5), None, 0.0, 100.0]


def test_load_says_what_came_and_what_replicas_do() -> None:
    rows = [(second / 2, 30, 20) for second in range(1800)]
    policy = Told()
    simulate(a_scenario(rows), policy, 1)
    early, load = policy.seen(0.0).load, policy.seen(600.0).load
    assert (early.arrivals_1m, early.arrivals_5m, early.arrivals_earlier, early.ttft_p95_seconds) == (None,) * 4
    assert (load.arrivals_1m, load.arrivals_5m, load.arrivals_earlier) == pytest.approx((2.0,) * 3, rel=0.02)
    assert load.ttft_p95_seconds == pytest.approx(0.13, rel=0.1)
    assert load.work is not None
    assert load.work.prompt_tokens == 30 * load.work.requests
    assert load.work.generation_tokens == 20 * load.work.requests
    assert load.work.requests == pytest.approx(1200, rel=0.03)
    replica = load.replicas[0]
    assert replica.tokens_per_second == pytest.approx(40.0, rel=0.1)
    assert replica.running == load.in_flight


def test_times_of_views_begin_with_the_scenarios_week() -> None:
    monday = 345_600.0
    policy = Told(at={monday + 10.0: Orders(creates=(ON_DEMAND,))})
    result = simulate(a_scenario(start_of_week=monday), policy, 1)
    assert (policy.views[0].now, policy.views[-1].replicas[1].since) == (monday, monday + 280.0)
    assert result.points[0].at == 60.0


def test_progress_is_told_up_to_the_end() -> None:
    told: list[float] = []
    simulate(a_scenario(duration=600.0), Told(), 1, progress=told.append)
    assert told == [pytest.approx(minute / 10) for minute in range(1, 11)]


@pytest.mark.parametrize(
    ("rows", "duration", "message"),
    [([(5.0, 1, 1), (4.0, 1, 1)], 10.0, "request 2 .* sort by time"), ([], 0.0, "duration of scenario by hand")],
)
def test_scenarios_that_cannot_be_are_refused(
    rows: Sequence[tuple[float, int, int]], duration: float, message: str
) -> None:
    with pytest.raises(ScenarioError, match=message):
        simulate(a_scenario(rows, duration=duration), Told(), 1)


def test_a_machine_without_a_price_is_an_error_that_names_its_place() -> None:
    scenario = replace(a_scenario(), prices=replace(a_scenario().prices, table={ON_DEMAND: 10.0}))
    with pytest.raises(ScenarioError, match="no price for Spot machines in zone b"):
        simulate(scenario, Told(at={10.0: Orders(creates=(spot("b"),))}), 1)


SMALL = ReplicaModel(base_seconds=0.05, per_request_seconds=0.01, max_num_seqs=4, kv_tokens=300)
moments = st.floats(0.0, 990.0)


@st.composite
def scripts(draw: st.DrawFn) -> dict[float, Orders]:
    """Orders that create and remove anything at any time."""
    places = st.sampled_from([ON_DEMAND, spot("a"), spot("b"), spot("")])
    orders = st.builds(
        Orders,
        creates=st.lists(places, max_size=2).map(tuple),
        removes=st.lists(st.integers(0, 6), max_size=2).map(tuple),
    )
    return draw(st.dictionaries(moments, orders, max_size=8))


@settings(deadline=None, max_examples=80)
@given(
    rows=st.lists(st.tuples(moments, st.integers(0, 350), st.integers(1, 200)), max_size=60).map(sorted),
    script=scripts(),
    changes=st.lists(st.tuples(moments, st.sampled_from(["a", "b"]), st.integers(0, 3)), max_size=8).map(sorted),
    hazard=st.sampled_from([0.0, 20.0]),
    notice=st.sampled_from([0.0, 30.0, 120.0]),
    spread=st.sampled_from([0.0, 60.0]),
    drains=st.booleans(),
    initial=st.integers(0, 2),
    seed=st.integers(0, 9),
)
def test_every_request_ends_exactly_once_and_equal_runs_are_equal(
    rows: list[tuple[float, int, int]],
    script: dict[float, Orders],
    changes: list[tuple[float, str, int]],
    hazard: float,
    notice: float,
    spread: float,
    drains: bool,  # noqa: FBT001 - given by name
    initial: int,
    seed: int,
) -> None:
    market = a_market(changes, hazard=hazard, notice=notice, missing=0.3, spread=spread, refusal=5.0)
    scenario = a_scenario(rows, replica=SMALL, market=market, initial=initial, drain=40.0, patience=50.0)

    def run() -> Result:
        return simulate(scenario, Told(at=dict(script), eager=True, drains_on_notice=drains), seed)

    result = run()
    assert result.served + result.failed + result.lost == result.requests == len(rows)
    assert 0 <= result.within_target <= result.served
    assert result.cost == pytest.approx(result.on_demand_hours * 10 + result.spot_hours * 4)
    assert result.unready_hours <= result.on_demand_hours + result.spot_hours + 1e-9
    assert plain(run()) == plain(result)
