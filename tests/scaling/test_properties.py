"""What holds for any input, and at any restart."""

import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_operator.core.scaling.decision import Limit, ScaleDecision, ScalingMemory
from gptoss_operator.core.scaling.load import Load, ReplicaLoad, Work, known
from gptoss_operator.core.scaling.policy import ScalingPolicy
from gptoss_operator.core.scaling.replicas import decide_replicas, seed
from gptoss_operator.core.scaling.supply import ColdStart, Supply
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
)


ANYTHING = st.one_of(st.none(), st.floats(), st.floats(0, 1000), st.integers(0, 50).map(float))
COUNTS = st.integers(0, 70)
POLICIES = st.builds(
    ScalingPolicy,
    min_replicas=st.integers(0, 5),
    max_replicas=st.integers(1, 40),
    fallback_replicas=st.one_of(st.none(), st.integers(0, 60)),
    max_gpus=st.one_of(st.none(), st.integers(0, 60)),
    max_hourly_cost=st.one_of(st.none(), st.floats(0, 100)),
    same_time_last_week=st.booleans(),
)
SUPPLIES = st.builds(
    Supply,
    existing=COUNTS,
    ready=COUNTS,
    starting=COUNTS,
    unsettled=st.booleans(),
    replica_hourly_cost=ANYTHING,
    cold_start=st.builds(ColdStart, p50_seconds=st.floats()),
)
WORKS = st.builds(Work, requests=st.floats(), prompt_tokens=st.floats(), generation_tokens=st.floats())
REPLICAS = st.builds(ReplicaLoad, **{field.name: ANYTHING for field in fields(ReplicaLoad)})
LOADS = st.builds(
    Load,
    **{field.name: ANYTHING for field in fields(Load) if field.name not in {"work", "replicas"}},
    work=st.one_of(st.none(), WORKS),
    replicas=st.dictionaries(st.integers(0, 9), REPLICAS, max_size=6),
)


@given(POLICIES, st.lists(st.tuples(LOADS, SUPPLIES, st.floats(-3600, 3600)), min_size=1, max_size=6))
def test_the_bounds_hold_and_nothing_breaks_whatever_is_measured(
    policy: ScalingPolicy, ticks: list[tuple[Load, Supply, float]]
) -> None:
    memory, now = ScalingMemory(), NOW
    for load, supply, elapsed in ticks:
        now += elapsed
        decision = decide_replicas(policy, load, supply, memory, now)
        memory = decision.memory
        assert 0 <= decision.replicas <= policy.max_replicas or decision.replicas == policy.min_replicas
        if policy.max_gpus is None and policy.max_hourly_cost is None:
            assert decision.replicas >= policy.min_replicas
        elif policy.max_gpus is not None:
            assert decision.replicas <= policy.max_gpus
        assert memory.target == decision.replicas
        assert decision.reason.startswith(str(decision.replicas)) or f" to {decision.replicas}: " in decision.reason
        for field in fields(decision.terms):
            term = getattr(decision.terms, field.name)
            assert term is None or math.isfinite(term)


@given(POLICIES, LOADS, SUPPLIES)
def test_the_same_input_gives_the_same_decision(policy: ScalingPolicy, load: Load, supply: Supply) -> None:
    memory = a_memory(3)
    first = decide_replicas(policy, load, supply, memory, NOW)
    assert repr(decide_replicas(policy, load, supply, memory, NOW)) == repr(first)


GATEWAY_SIGNALS = ("gateway_age_seconds", "arrivals_1m", "arrivals_5m", "queued", "held", "in_flight")
SIGNALS = (*GATEWAY_SIGNALS, "arrivals_earlier", "idle_seconds", "oldest_wait_seconds", "ttft_p95_seconds")
BAD_WORK = Work(requests=math.inf, prompt_tokens=math.nan, generation_tokens=math.nan)
REPLICA_SIGNALS = tuple(field.name for field in fields(ReplicaLoad))
BAD = st.sampled_from([None, math.nan, math.inf, -math.inf, -1.0])


@st.composite
def measured(draw: st.DrawFn) -> tuple[Load, Load, int]:
    """Return a whole load, the same without some of it, and how many replicas are ready."""
    ready = draw(st.integers(1, 8))
    running = draw(st.sampled_from([0.0, 5.0, 40.0, 200.0]))
    # What does not run has nothing in the cache.
    shares = draw(st.lists(st.floats(0, 1 if running else 0), min_size=ready, max_size=ready))
    replicas = {slot: a_replica(running, share) for slot, share in enumerate(shares)}
    base = replace(a_load(draw(st.floats(0, 80)), ready, running), queued=draw(st.floats(0, 300)), replicas=replicas)
    missing: dict[str, Any] = {name: draw(BAD) for name in draw(st.sets(st.sampled_from(SIGNALS)))}
    lacking = replace(base, **missing, work=draw(st.sampled_from([base.work, None, BAD_WORK])))
    if draw(st.booleans()):
        names = draw(st.sets(st.sampled_from(REPLICA_SIGNALS)))
        silent = draw(st.sets(st.sampled_from(sorted(replicas))))
        half = {slot: replace(said, **dict.fromkeys(names, draw(BAD))) for slot, said in replicas.items()}
        lacking = replace(lacking, replicas={slot: said for slot, said in half.items() if slot not in silent})
    return base, lacking, ready


@given(measured(), st.integers(0, 20), st.sampled_from([(), ((NOW - 60, 4),)]))
def test_what_is_missing_never_lowers_the_target(
    sample: tuple[Load, Load, int], target: int, needs: tuple[tuple[float, int], ...]
) -> None:
    whole, lacking, ready = sample
    memory = replace(a_memory(target), needs=needs)
    of_all = decide_replicas(POLICY, whole, a_supply(ready), memory, NOW)
    decision = decide_replicas(POLICY, lacking, a_supply(ready), memory, NOW)
    assert decision.replicas >= min(of_all.replicas, max(target, 1))
    if any(known(getattr(lacking, name)) is None for name in GATEWAY_SIGNALS):
        assert decision.replicas >= target


@given(st.floats(0, 100), st.floats(0, 100), st.integers(1, 8), st.integers(1, 15))
def test_more_arrivals_never_ask_for_fewer(first: float, second: float, ready: int, target: int) -> None:
    fewer, more = sorted((first, second))
    decisions = [
        decide_replicas(POLICY, a_load(rate, ready), a_supply(ready), a_memory(target), NOW) for rate in (fewer, more)
    ]
    assert decisions[0].replicas <= decisions[1].replicas


def a_day(policy: ScalingPolicy) -> World:
    """Return a world that has seen a rise, a peak, a short trough and a fall."""

    def arrivals(t: float) -> float:
        if 1500 <= t < 1700 or t >= 2600:
            return 0.3 / REPLICA_SECONDS
        return min(3.0, 0.3 + t / 400) / REPLICA_SECONDS

    world = World(policy, arrivals)
    world.run(3600)
    return world


@pytest.mark.parametrize("cost", [REPLICA_SECONDS, None])
def test_a_restart_at_any_moment_never_leaves_fewer_within_the_window(cost: float | None) -> None:
    world = a_day(POLICY)
    targets = world.targets()
    assert max(targets) >= 4
    assert targets[-1] < max(targets)
    for restart in range(1, len(targets), 7):
        memory = seed(target=targets[restart - 1], replica_seconds=cost, now=world.seen[restart][2])
        again = replayed(world, restart, memory)
        for tick, decision in enumerate(again):
            assert decision.replicas >= targets[restart + tick], f"restarted at tick {restart}, {tick} ticks later"


def replayed(world: World, restart: int, memory: ScalingMemory) -> list[ScaleDecision]:
    """Return the decisions within the window after a restart, with the loads and supplies that were seen."""
    decisions = []
    for load, supply, now in world.seen[restart : restart + int(600 / TICK)]:
        decision = decide_replicas(world.policy, load, supply, memory, now)
        assert decision.limit is not Limit.DOWN_STEP
        decisions.append(decision)
        memory = decision.memory
    return decisions
