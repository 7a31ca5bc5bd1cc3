"""How many replicas there should be, term by term."""

import math
from dataclasses import replace

import pytest

from gptoss_operator.core.scaling.decision import Limit, ScaleDecision
from gptoss_operator.core.scaling.fit import Fit
from gptoss_operator.core.scaling.load import NOTHING_KNOWN, Load
from gptoss_operator.core.scaling.policy import ScalingPolicy
from gptoss_operator.core.scaling.replicas import decide_replicas, seed
from gptoss_operator.core.scaling.supply import ColdStart
from tests.scaling.builders import (
    MAX_NUM_SEQS,
    NOW,
    POLICY,
    REPLICA_SECONDS,
    TICK,
    World,
    a_load,
    a_memory,
    a_replica,
    a_supply,
    no_load,
    repeated,
)


CAPACITY = 0.75 / REPLICA_SECONDS


def decided(load: Load, ready: int, target: int | None = None, policy: ScalingPolicy = POLICY) -> ScaleDecision:
    return decide_replicas(policy, load, a_supply(ready), a_memory(ready if target is None else target), NOW)


def test_arrivals_are_sized_by_the_work_that_they_bring() -> None:
    decision = decided(a_load(3.5 * CAPACITY, 3), 3)
    assert decision.replicas == 4
    assert decision.terms.rate == pytest.approx(3.5, rel=0.01)
    assert decision.terms.capacity == pytest.approx(CAPACITY, rel=0.01)
    assert decision.limit is Limit.NONE


def test_a_tenth_of_a_replica_that_is_missing_starts_none() -> None:
    assert decided(a_load(3.09 * CAPACITY, 3), 3).replicas == 3
    assert decided(a_load(1.12 * CAPACITY, 1), 1).replicas == 2
    assert decided(a_load(3.29 * CAPACITY, 3), 3).replicas == 3
    assert decided(a_load(3.31 * CAPACITY, 3), 3).replicas == 4


def test_requests_wait_unanswered_up_to_the_depth_that_is_wished_for() -> None:
    policy = replace(POLICY, queue_depth=50.0, max_replicas=100)
    within = decided(replace(a_load(2.9 * CAPACITY, 3), queued=150.0), 3, policy=policy)
    beyond = decided(replace(a_load(2.9 * CAPACITY, 3), queued=1150.0), 3, policy=policy)
    assert (within.replicas, within.terms.backlog) == (3, 0.0)
    reserve = 2.9 * (1 - policy.utilization)
    assert beyond.terms.backlog == pytest.approx(1000 * REPLICA_SECONDS / 60 - reserve, rel=0.01)
    assert beyond.replicas == 4


def test_the_reserve_serves_a_backlog_before_more_replicas_are_started() -> None:
    few = decided(replace(a_load(2.9 * CAPACITY, 3), queued=400.0), 3)
    assert (few.replicas, few.terms.backlog) == (3, 0.0)
    assert few.terms.fully_used == pytest.approx(2.9 * POLICY.utilization + 388 * REPLICA_SECONDS / 60, rel=0.01)


def test_requests_in_the_replicas_own_queues_wait_as_well() -> None:
    load = a_load(2.9 * CAPACITY, 3)
    own = {slot: replace(said, waiting=400.0) for slot, said in load.replicas.items()}
    assert decided(replace(load, replicas=own), 3).terms.waiting == 1200.0


def test_a_full_cache_asks_for_more() -> None:
    load = a_load(0.1, 3)
    full = {slot: replace(said, kv_usage=1.0) for slot, said in load.replicas.items()}
    decision = decided(replace(load, replicas=full), 3)
    assert decision.terms.kv_cache == pytest.approx(3 / 0.85)
    assert decision.replicas == 4
    assert decision.reason == "3 to 4: the key-value cache in use needs 3.5"


def test_a_rising_rate_is_followed_for_half_a_cold_start() -> None:
    rising = replace(a_load(2.5 * CAPACITY, 3), arrivals_1m=2.9 * CAPACITY, arrivals_earlier=1.9 * CAPACITY)
    decision = decided(rising, 3)
    assert decision.terms.rate == pytest.approx(2.9 + 0.5 * 1.0, rel=0.01)
    still = decided(rising, 3, policy=replace(POLICY, follow_trend=False))
    assert still.terms.rate == pytest.approx(2.9, rel=0.01)


def test_what_runs_is_counted_while_the_cost_of_a_request_is_not_known() -> None:
    memory = replace(a_memory(1), fit=Fit())
    load = replace(a_load(20.0, 1, running=250.0), work=None, queued=150.0)
    decision = decide_replicas(POLICY, load, a_supply(1), memory, NOW)
    assert decision.terms.concurrency == pytest.approx(400 / (0.75 * MAX_NUM_SEQS), rel=0.01)
    assert decision.replicas == 2
    assert decision.terms.rate is None


def test_a_deployment_that_nothing_is_known_of_stays_as_it_is() -> None:
    decision = decide_replicas(POLICY, NOTHING_KNOWN, a_supply(3), a_memory(3), NOW)
    assert (decision.replicas, decision.limit) == (3, Limit.NO_EVIDENCE)
    assert decision.terms.needed is None


def test_replicas_without_gateways_may_raise_and_never_lower() -> None:
    load = replace(a_load(1.0, 3, running=250.0), gateway_age_seconds=40.0)
    busy = {slot: a_replica(250.0) for slot in range(2)} | {2: replace(a_replica(256.0), waiting=150.0)}
    decision = decided(replace(load, replicas=busy), 3)
    assert decision.replicas == math.ceil((250 + 250 + 256 + 150) / MAX_NUM_SEQS - 0.1) == 4
    assert {d.replicas for d in repeated(replace(load, replicas={}), a_supply(3), a_memory(3), 500)} == {3}


def test_time_without_evidence_does_not_make_an_earlier_need_older() -> None:
    peak = repeated(a_load(4.8 * CAPACITY, 5), a_supply(5), a_memory(5), 10)[-1].memory
    dark = peak
    for tick in range(10, 370):
        dark = decide_replicas(POLICY, NOTHING_KNOWN, a_supply(5), dark, NOW + tick * TICK).memory
    for tick in range(370, 470):
        decision = decide_replicas(POLICY, a_load(0.1, 5), a_supply(5), dark, NOW + tick * TICK)
        assert (decision.replicas, decision.limit) == (5, Limit.STABILIZATION)
        dark = decision.memory


def test_when_nothing_was_known_for_long_as_many_as_agreed_are_there() -> None:
    policy = replace(POLICY, fallback_replicas=4)
    decisions = repeated(NOTHING_KNOWN, a_supply(2), a_memory(2), 64, policy)
    assert {decision.replicas for decision in decisions[:60]} == {2}
    assert decisions[60].replicas == 4
    assert decisions[60].reason == "2 to 4: scaling.fallbackReplicas, as nothing is known of the load"
    more = repeated(NOTHING_KNOWN, a_supply(6), a_memory(6), 64, policy)
    assert {decision.replicas for decision in more} == {6}


def test_a_ready_replica_that_does_not_say_keeps_its_place_while_it_has_requests() -> None:
    load = a_load(0.5, 3, running=5.0)
    silent = replace(load, replicas={0: load.replicas[0]})
    memory = a_memory(3)
    for decision in repeated(silent, a_supply(3), memory, 300):
        assert decision.replicas == 3
    assert repeated(load, a_supply(3), memory, 300)[-1].replicas < 3


def test_steps_up_are_bounded_within_their_period() -> None:
    world_load = a_load(15.5 * CAPACITY, 3)
    targets = [decision.replicas for decision in repeated(world_load, a_supply(3), a_memory(3), 40)]
    assert targets[0] == 6, "as many again as there were"
    assert targets[:12] == [6] * 12
    assert targets[12] == 12
    assert targets[24] == 16
    first = decided(world_load, 3)
    assert first.limit is Limit.UP_STEP
    assert first.reason.endswith("scaling.up allows no more at once")


def test_steps_down_are_bounded_within_their_period() -> None:
    memory = replace(a_memory(9), needs=((NOW - 1, 2),))
    targets = [decision.replicas for decision in repeated(a_load(1.8 * CAPACITY, 9), a_supply(9), memory, 130)]
    assert targets[0] == 7
    assert targets[23] == 7
    assert targets[24] == 6
    assert targets[48] == 5
    assert targets[-1] == 2


def test_the_window_is_at_least_two_cold_starts_long() -> None:
    supply = replace(a_supply(5), cold_start=ColdStart(p50_seconds=900.0, starts=9))
    memory = replace(a_memory(5), needs=((NOW - TICK, 5),))
    decisions = repeated(a_load(0.1, 5), supply, memory, 365)
    changed = next(tick for tick, decision in enumerate(decisions) if decision.replicas < 5)
    assert changed * TICK == pytest.approx(1800, abs=2 * TICK)


def test_none_is_removed_while_another_is_being_replaced() -> None:
    decision = decide_replicas(POLICY, a_load(0.1, 5), replace(a_supply(5), unsettled=True), a_memory(5), NOW)
    assert (decision.replicas, decision.limit) == (5, Limit.UNSETTLED)


def test_the_requests_that_run_must_fit_into_fewer_replicas() -> None:
    load = a_load(0.1, 5, running=240.0)
    decision = decided(load, 5)
    assert (decision.replicas, decision.limit) == (5, Limit.BUSY)


LATE = replace(a_load(2.4 * CAPACITY, 3, running=200.0), ttft_p95_seconds=9.0)


def test_first_tokens_that_come_too_late_for_two_minutes_ask_for_one_more_a_cold_start() -> None:
    decisions = repeated(LATE, a_supply(3), a_memory(3), 60)
    targets = [decision.replicas for decision in decisions]
    assert targets.index(4) == 24
    assert decisions[24].reason == "3 to 4: first tokens that come too late need 4.0"
    after = repeated(LATE, a_supply(4), replace(decisions[24].memory, clock=NOW - TICK, late_since=NOW - 200), 5)
    assert [decision.replicas for decision in after] == [4] * 5, "not again at once"


def test_first_tokens_are_late_in_vain_while_a_replica_starts_or_nothing_is_to_do() -> None:
    starting = repeated(LATE, a_supply(3, 1), replace(a_memory(4), late_since=NOW - 120), 60)
    assert {decision.replicas for decision in starting} == {4}
    long_prompts = replace(a_load(0.2, 3, running=3.0), ttft_p95_seconds=9.0)
    assert max(decision.replicas for decision in repeated(long_prompts, a_supply(3), a_memory(3), 60)) <= 3


def test_none_is_removed_while_first_tokens_come_too_late() -> None:
    load = replace(a_load(0.8 * CAPACITY, 3, running=200.0), ttft_p95_seconds=9.0)
    memory = replace(a_memory(3), late_since=NOW - 120)
    assert {decision.replicas for decision in repeated(load, a_supply(3, 1), memory, 400)} == {3}


def test_a_restart_takes_what_exists_or_what_was_decided_whichever_is_more() -> None:
    for target, existing, replicas in ((5, 3, 5), (3, 5, 5), (None, 4, 4)):
        memory = seed(target=target, replica_seconds=1.0, now=NOW)
        assert decide_replicas(POLICY, NOTHING_KNOWN, a_supply(existing), memory, NOW).replicas == replicas
    assert seed(target=1, replica_seconds=math.nan, now=NOW).fit.replica_seconds is None


def test_a_fixed_number_is_that_number_for_that_reason() -> None:
    policy = replace(POLICY, min_replicas=2, max_replicas=2)
    for load in (a_load(50.0, 2), no_load(2), NOTHING_KNOWN):
        decision = decided(load, 2, policy=policy)
        assert (decision.replicas, decision.reason) == (2, "2: minReplicas and maxReplicas are both 2")


def test_new_bounds_count_at_once() -> None:
    down = decided(a_load(9 * CAPACITY, 9), 9, policy=replace(POLICY, max_replicas=4))
    assert (down.replicas, down.reason) == (4, "9 to 4: maxReplicas allows no more")
    assert down.limit is Limit.MAX_REPLICAS
    up = decided(a_load(0.1), 1, policy=replace(POLICY, min_replicas=7))
    assert (up.replicas, up.reason, up.limit) == (7, "1 to 7: minReplicas", Limit.MIN_REPLICAS)


def test_the_budget_comes_before_the_minimum_and_ends_at_none() -> None:
    policy = replace(POLICY, min_replicas=3, max_gpus=4, gpus_per_replica=2)
    assert decided(a_load(0.1, 3), 3, policy=policy).replicas == 2
    dear = replace(a_supply(1), replica_hourly_cost=50.0)
    broke = replace(POLICY, max_hourly_cost=10.0)
    assert decide_replicas(broke, a_load(), dear, a_memory(1), NOW).replicas == 0
    priceless = replace(dear, replica_hourly_cost=math.nan)
    assert decide_replicas(broke, a_load(), priceless, a_memory(1), NOW).replicas == 1


def test_the_reason_names_the_numbers_that_count_and_what_starts_already() -> None:
    load = replace(a_load(3.9 * CAPACITY, 3), queued=2252.0)
    policy = replace(POLICY, backlog_seconds=100.0)
    decision = decide_replicas(policy, load, a_supply(3, 1), a_memory(4), NOW)
    assert decision.reason == "4 to 5: 37.1 requests/s need 3.9, 2252 waiting need 0.8 more; 1 of them starts already"


def test_noise_is_no_news() -> None:
    said = set()
    memory = a_memory(4)
    for tick in range(600):
        rate = (3.3 + 0.7 * math.sin(tick * 2.7)) * CAPACITY
        decision = decide_replicas(POLICY, a_load(rate, 4), a_supply(4), memory, NOW + tick * TICK)
        memory = decision.memory
        said.add(decision.reason)
    assert said == {"4: as many as the load has needed lately"}


def test_memory_stays_small_however_long_it_goes() -> None:
    world = World(POLICY, lambda t: (3 + 2.5 * math.sin(t / 500)) / REPLICA_SECONDS)
    world.run(4 * 3600)
    assert len(world.memory.needs) <= POLICY.max_replicas + 1
    assert len(world.memory.ups) <= POLICY.up_period_seconds / TICK
    assert len(world.memory.downs) <= POLICY.down_period_seconds / TICK
