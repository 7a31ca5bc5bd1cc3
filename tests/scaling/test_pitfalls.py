"""Mistakes of other autoscalers, each with the test that catches it here. Numbers are those of the list in the docs."""

import math
from dataclasses import replace
from typing import Any

import pytest

from gptoss_operator.core.scaling.decision import Limit, ScalingMemory
from gptoss_operator.core.scaling.load import NOTHING_KNOWN, Load, Work
from gptoss_operator.core.scaling.replicas import decide_replicas, seed
from tests.scaling.builders import (
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
)


CAPACITY = 0.75 / REPLICA_SECONDS
"""Requests per second that one replica is counted on for."""


def test_pitfall_01_a_busy_fleet_where_nothing_waits_keeps_its_size() -> None:
    world = World(POLICY, lambda _: 3.6 * CAPACITY, ready=4, memory=a_memory(4))
    world.run(1800)
    assert world.waiting == 0
    assert set(world.targets()) == {4}


UNKNOWN = [None, math.nan, math.inf, -1.0]


@pytest.mark.parametrize("value", UNKNOWN)
@pytest.mark.parametrize(
    "name", ["gateway_age_seconds", "arrivals_1m", "arrivals_5m", "queued", "held", "in_flight", "work", "replicas"]
)
def test_pitfall_02_a_signal_that_is_empty_or_no_number_removes_nothing(name: str, value: float | None) -> None:
    bad: Any = {"replicas": {}, "work": value and Work(requests=value, prompt_tokens=1.0, generation_tokens=1.0)}
    changes: dict[str, Any] = {name: bad.get(name, value)}
    load = replace(a_load(4.5 * CAPACITY, 5), **changes)
    memory = a_memory(5)
    for tick in range(300):
        decision = decide_replicas(POLICY, load, a_supply(5), memory, NOW + tick * TICK)
        assert decision.replicas >= 5
        memory = decision.memory


def test_pitfall_03_true_silence_reaches_the_minimum_although_no_quantile_is_a_number() -> None:
    memory, replicas = a_memory(4), 4
    for tick in range(300):
        load = replace(no_load(replicas), ttft_p95_seconds=math.nan, work=None)
        decision = decide_replicas(POLICY, load, a_supply(replicas), memory, NOW + tick * TICK)
        memory, replicas = decision.memory, decision.replicas
    assert replicas == 1


def test_pitfall_04_one_trough_within_the_window_removes_nothing() -> None:
    memory, targets = a_memory(8), []
    for tick in range(100):
        need = 2 if 40 <= tick < 60 else 7.8
        decision = decide_replicas(POLICY, a_load(need * CAPACITY, 8), a_supply(8), memory, NOW + tick * TICK)
        memory = decision.memory
        targets.append(decision.replicas)
    assert set(targets) == {8}


def test_pitfall_05_shares_of_replicas_are_summed_and_not_averaged() -> None:
    policy = replace(POLICY, utilization=0.5)
    load = a_load(4 * 0.8 / REPLICA_SECONDS, 4)
    decision = decide_replicas(policy, load, a_supply(4), a_memory(4), NOW)
    assert decision.terms.rate == pytest.approx(6.4)
    assert decision.replicas == 7


def test_pitfall_06_starting_replicas_count_so_a_step_launches_no_more_than_it_needs() -> None:
    world = World(replace(POLICY, backlog_seconds=600.0), lambda t: (0.7 if t < 60 else 3.5) * CAPACITY)
    world.run(290)
    needed = max(decision.terms.needed or 0.0 for decision in world.decisions)
    assert world.ready == 1
    assert 1 + world.launches == max(world.targets())
    assert 4 <= 1 + world.launches <= math.ceil(needed)
    before = world.launches
    world.arrivals = lambda _: 3.5 * CAPACITY
    world.waiting = 0.0
    world.run(900)
    assert world.launches == before


def test_pitfall_08_demand_is_what_was_asked_for_and_not_what_was_served() -> None:
    work = Work(requests=1000, prompt_tokens=500_000, generation_tokens=600_000)
    calm = replace(a_load(1.8 * CAPACITY, 2, running=250.0), work=work)
    overload = replace(calm, arrivals_1m=9 * CAPACITY, arrivals_5m=9 * CAPACITY, arrivals_earlier=9 * CAPACITY)
    before = decide_replicas(POLICY, calm, a_supply(2), a_memory(2), NOW)
    decision = decide_replicas(POLICY, overload, a_supply(2), before.memory, NOW + TICK)
    assert before.replicas == 2
    assert decision.terms.rate == pytest.approx(9.0, rel=0.01)
    assert decision.replicas == 4, "two more at once, as scaling.up says"


def test_pitfall_09_waiting_requests_are_counted_once() -> None:
    policy = replace(POLICY, max_replicas=1000, up_replicas=1000)
    load = replace(a_load(2 * CAPACITY, 2, running=20.0), queued=1000.0)
    decision = decide_replicas(policy, load, a_supply(2), a_memory(2), NOW)
    backlog = (1000 - 2 * policy.queue_depth) * REPLICA_SECONDS / policy.backlog_seconds
    formula = 2.0 * policy.utilization + backlog
    assert decision.terms.needed == pytest.approx(formula, rel=0.01)
    assert decision.terms.concurrency is None
    assert decision.replicas == math.ceil(formula - policy.up_tolerance)


@pytest.mark.parametrize("memory", [ScalingMemory(), seed(target=3, replica_seconds=None, now=NOW)])
def test_pitfall_10_a_restart_at_the_peak_removes_nothing_for_the_window(memory: ScalingMemory) -> None:
    for tick in range(119):
        decision = decide_replicas(POLICY, a_load(0.1, 9), a_supply(9), memory, NOW + tick * TICK)
        assert (decision.replicas, decision.limit) == (9, Limit.JUST_STARTED)
        memory = decision.memory
    for tick in range(119, 125):
        decision = decide_replicas(POLICY, a_load(0.1, 9), a_supply(9), memory, NOW + tick * TICK)
        memory = decision.memory
    assert decision.replicas < 9


@pytest.mark.parametrize(
    "load",
    [NOTHING_KNOWN, a_load(1.0, 1), replace(no_load(1), idle_seconds=1e6), replace(a_load(), gateway_age_seconds=None)],
)
@pytest.mark.parametrize("target", [0, 1, 5, 50])
@pytest.mark.parametrize("moment", [NOW, NOW - 3600, math.nan])
def test_pitfall_11_the_bounds_hold_on_every_path(load: Load, target: int, moment: float) -> None:
    policy = replace(POLICY, min_replicas=2, max_replicas=6)
    decision = decide_replicas(policy, load, a_supply(1), a_memory(target), moment)
    assert 2 <= decision.replicas <= 6
    assert decision.memory.target == decision.replicas


def test_pitfall_12_twice_the_replicas_during_a_rollout_change_nothing() -> None:
    before = a_load(3.5 * CAPACITY, 4, running=60.0)
    surplus = {slot: a_replica(30.0, kv_usage=0.05) for slot in range(8)}
    during = replace(before, replicas=surplus, in_flight=240.0)
    memory = decide_replicas(POLICY, before, a_supply(4), a_memory(4), NOW).memory
    for tick in range(1, 300):
        decision = decide_replicas(POLICY, during, a_supply(4), memory, NOW + tick * TICK)
        assert decision.replicas == 4
        memory = decision.memory


@pytest.mark.parametrize(("held", "replica_seconds", "replicas"), [(500.0, 0.5, 3), (500.0, 2.0, 9), (3.0, 0.5, 1)])
def test_pitfall_25_held_requests_wake_as_many_as_they_need(held: float, replica_seconds: float, replicas: int) -> None:
    policy = replace(POLICY, min_replicas=0)
    memory = a_memory(0, replica_seconds=replica_seconds)
    load = replace(no_load(), held=held, idle_seconds=0.0)
    decision = decide_replicas(policy, load, a_supply(0), memory, NOW)
    assert decision.replicas == math.ceil(held * replica_seconds / policy.wake_seconds) == replicas


def test_pitfall_29_a_clock_that_goes_back_an_hour_changes_nothing_and_the_next_second_counts_again() -> None:
    memory = replace(a_memory(3), needs=((NOW - 60, 3),), ups=((NOW - 30, 2),))
    back = decide_replicas(POLICY, a_load(20 * CAPACITY, 3), a_supply(3), memory, NOW - 3600)
    assert back.replicas == 3
    assert back.memory.needs == ((NOW - 60 - 3600 + TICK, 3),)
    again = decide_replicas(POLICY, a_load(20 * CAPACITY, 3), a_supply(3), back.memory, NOW - 3600 + TICK)
    assert again.replicas > 3


@pytest.mark.parametrize(
    ("budget", "limit", "words"),
    [
        ({"max_gpus": 9, "gpus_per_replica": 2}, Limit.MAX_GPUS, "scaling.budget.maxGpus"),
        ({"max_hourly_cost": 22.0}, Limit.MAX_HOURLY_COST, "scaling.budget.maxHourlyCost"),
        ({"max_replicas": 4}, Limit.MAX_REPLICAS, "maxReplicas"),
    ],
)
def test_pitfall_34_at_the_budget_the_target_stays_and_nothing_is_news(
    budget: dict[str, Any], limit: Limit, words: str
) -> None:
    policy = replace(POLICY, **budget)
    memory, said = a_memory(4), set()
    for tick in range(50):
        load = replace(a_load((9 + tick / 10) * CAPACITY, 4), queued=100.0 + tick)
        supply = replace(a_supply(4), replica_hourly_cost=5.0)
        decision = decide_replicas(policy, load, supply, memory, NOW + tick * TICK)
        assert (decision.replicas, decision.limit) == (4, limit)
        memory = decision.memory
        said.add(decision.reason)
    assert said == {f"4: {words} allows no more, the load needs more"}
    assert memory.ups == ()
