"""To none and from none."""

import math
from dataclasses import replace

import pytest

from gptoss_operator.core.scaling.decision import ScaleDecision, ScalingMemory
from gptoss_operator.core.scaling.load import NOTHING_KNOWN, Load
from gptoss_operator.core.scaling.policy import ScalingPolicy
from gptoss_operator.core.scaling.replicas import decide_replicas, seed
from tests.scaling.builders import (
    NOW,
    POLICY,
    REPLICA_SECONDS,
    TICK,
    a_load,
    a_memory,
    a_replica,
    a_supply,
    no_load,
    repeated,
)


TO_ZERO = replace(POLICY, min_replicas=0)
IDLE = replace(no_load(1), idle_seconds=900.0)


def decided(load: Load, ready: int, policy: ScalingPolicy = TO_ZERO) -> ScaleDecision:
    return decide_replicas(policy, load, a_supply(ready), a_memory(ready), NOW)


def test_the_last_replica_goes_when_nobody_has_asked_for_long_enough() -> None:
    decision = decided(IDLE, 1)
    assert (decision.replicas, decision.reason) == (0, "1 to 0: nobody has asked for scaling.idleSeconds")
    assert decided(IDLE, 1, POLICY).replicas == 1, "minReplicas"


@pytest.mark.parametrize(
    "changed",
    [
        replace(IDLE, idle_seconds=899.0),
        replace(IDLE, idle_seconds=None),
        replace(IDLE, idle_seconds=math.nan),
        replace(IDLE, held=1.0),
        replace(IDLE, queued=1.0),
        replace(IDLE, in_flight=1.0),
        replace(IDLE, held=None),
        replace(IDLE, gateway_age_seconds=31.0),
        replace(IDLE, gateway_age_seconds=None),
        replace(IDLE, replicas={0: a_replica(1.0)}),
    ],
)
def test_the_last_replica_stays_as_long_as_somebody_may_need_it(changed: Load) -> None:
    assert decided(changed, 1).replicas == 1


def test_the_last_replica_stays_after_a_restart_until_the_load_was_watched() -> None:
    memory = seed(target=1, replica_seconds=REPLICA_SECONDS, now=NOW)
    decisions = repeated(IDLE, a_supply(1), memory, 125, TO_ZERO)
    assert {decision.replicas for decision in decisions[:120]} == {1}
    assert decisions[-1].replicas == 0


def test_none_stays_none_while_nobody_asks_although_the_rates_remember_requests() -> None:
    policy = replace(TO_ZERO, idle_seconds=20.0)
    load = replace(a_load(2.0, 0, 0.0), idle_seconds=25.0, ttft_p95_seconds=None)
    decisions = repeated(load, a_supply(0), a_memory(0), 5, policy)
    assert {(decision.replicas, decision.reason) for decision in decisions} == {(0, "0: nobody asks")}
    again = decided(replace(load, arrivals_1m=0.02, arrivals_5m=0.02, idle_seconds=2.0), 0, policy)
    assert (again.replicas, again.reason) == (1, "0 to 1: requests arrive"), "its client may come again"


def test_one_held_request_wakes_a_deployment_of_which_nothing_else_is_known() -> None:
    memory = ScalingMemory(target=0, since=NOW - 1e6, clock=NOW - TICK)
    decision = decide_replicas(TO_ZERO, replace(NOTHING_KNOWN, held=1.0), a_supply(0), memory, NOW)
    assert (decision.replicas, decision.reason) == (1, "0 to 1: requests wait")


def test_a_wake_is_not_bounded_by_steps_and_not_repeated_while_it_starts() -> None:
    policy = replace(TO_ZERO, max_replicas=50)
    load = replace(no_load(), held=20_000.0, idle_seconds=0.0)
    first = decide_replicas(policy, load, a_supply(0), a_memory(0), NOW)
    assert first.replicas == math.ceil(20_000 * REPLICA_SECONDS / 120) > 10
    later = repeated(load, a_supply(0, first.replicas), first.memory, 60, policy)
    assert {decision.replicas for decision in later} == {first.replicas}


def test_a_new_deployment_starts_with_the_minimum() -> None:
    decision = decide_replicas(replace(POLICY, min_replicas=2), NOTHING_KNOWN, a_supply(0), ScalingMemory(), NOW)
    assert (decision.replicas, decision.reason) == (2, "0 to 2: minReplicas")
    assert decide_replicas(TO_ZERO, NOTHING_KNOWN, a_supply(0), ScalingMemory(), NOW).replicas == 0
