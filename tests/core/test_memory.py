"""What a pass hands on, and what a new process takes up from the status."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_operator.api.placement import PriceSpec
from gptoss_operator.api.status import GptOssStatus
from gptoss_operator.api.status_scaling import ColdStartStatus, DecisionStatus, ZoneStatus
from gptoss_operator.core.dates import seconds_of, shown_date
from gptoss_operator.core.memory import STARTS_KEPT, Memory, Tokens, remembered
from gptoss_operator.core.objects import ContainerState, ContainerStatus, ObjectMeta, Pod, PodCondition, PodStatus
from gptoss_operator.core.placement.places import CapacityType, Place
from gptoss_operator.core.placement.policy import PlacementPolicy
from gptoss_operator.core.policies import placement_policy, prices_of, scaling_policy
from gptoss_operator.core.scaling.policy import Schedule
from gptoss_operator.core.starts import cold_start, watch_starts
from gptoss_operator.core.tokens import count_tokens
from gptoss_runtime.contract import Counter
from tests.core.builders import NOW, a_spec, a_state


AT = NOW.timestamp()


def a_starting_pod(
    uid: str, *, ready_after: float | None = None, started: bool = False, restarts: int = 0, leaving: bool = False
) -> Pod:
    """Return a pod that was created at NOW."""
    since = None if ready_after is None else NOW + timedelta(seconds=ready_after)
    ready = PodCondition(type="Ready", status="False" if since is None else "True", last_transition_time=since)
    server = ContainerStatus(name="server", started=started, restart_count=restarts, state=ContainerState())
    return Pod(
        metadata=ObjectMeta(
            name=uid, uid=uid, resource_version="1", creation_timestamp=NOW, deletion_timestamp=NOW if leaving else None
        ),
        status=PodStatus(conditions=(ready,), container_statuses=(server,)),
    )


def test_a_start_is_learnt_when_its_pod_is_ready() -> None:
    memory = watch_starts((a_starting_pod("x"),), Memory())
    assert memory.starts == ()
    memory = watch_starts((a_starting_pod("x", ready_after=80.0, started=True),), memory)
    assert memory.starts == (80.0,)
    assert watch_starts((a_starting_pod("x", ready_after=80.0, started=True),), memory) == memory


def test_what_was_ready_before_is_no_start() -> None:
    for pod in (a_starting_pod("x", started=True), a_starting_pod("x", restarts=1), a_starting_pod("x", leaving=True)):
        memory = watch_starts((pod,), Memory())
        assert watch_starts((a_starting_pod("x", ready_after=80.0, started=True),), memory).starts == ()
    unseen = watch_starts((a_starting_pod("x", ready_after=80.0, started=True),), Memory())
    assert unseen.starts == ()


def test_the_last_starts_are_kept() -> None:
    memory = Memory(starts=tuple(float(n) for n in range(STARTS_KEPT)), starting=frozenset({"x"}))
    memory = watch_starts((a_starting_pod("x", ready_after=7.0, started=True),), memory)
    assert len(memory.starts) == STARTS_KEPT
    assert memory.starts[-1] == 7.0


@given(st.integers(1, STARTS_KEPT), st.integers(1, 3600), st.integers(0, 3600))
def test_percentiles_survive_a_restart(starts: int, p50: int, more: int) -> None:
    told = ColdStartStatus(p50_seconds=p50, p90_seconds=p50 if starts == 1 else p50 + more, starts=starts)
    known = cold_start(remembered(GptOssStatus(cold_start=told), NOW).starts)
    assert (known.p50_seconds, known.p90_seconds, known.starts) == (p50, told.p90_seconds, starts)


def test_a_new_process_takes_up_target_market_and_work() -> None:
    decision = DecisionStatus(
        at="2026-11-22T11:00:00Z", previous=1, replicas=4, reason="x", terms={"replicaSeconds": "2.5"}
    )
    zone = ZoneStatus(
        zone="a",
        interruptions_per_hour="0.5",
        exposure_hours="3.5",
        events="1.25",
        suspect_until="2026-11-22T12:01:00Z",
        blocked_until="2026-11-22T12:05:00Z",
    )
    memory = remembered(GptOssStatus(last_decision=decision, desired_replicas=3, zones=(zone,)), NOW)
    assert memory.scaling.target == 4
    assert memory.scaling.fit.replica_seconds == 2.5
    known = memory.market.zones["a", ""]
    assert (known.exposure_hours, known.events, known.refusals) == (3.5, 1.25, 1)
    assert (known.suspect_until, known.blocked_until) == (AT + 60, AT + 300)
    assert known.last_event_at == AT


@pytest.mark.parametrize("text", ["", "nan", "inf", "-1", "many"])
def test_numbers_that_are_none_are_not_taken_up(text: str) -> None:
    zone = ZoneStatus(zone="a", interruptions_per_hour="x", exposure_hours=text, events=text, suspect_until="soon")
    decision = DecisionStatus(at="x", previous=1, replicas=1, reason="x", terms={"replicaSeconds": text})
    memory = remembered(GptOssStatus(last_decision=decision, zones=(zone,)), NOW)
    assert memory.scaling.fit.replica_seconds is None
    assert memory.market.zones["a", ""] == replace(memory.market.zones["a", ""], exposure_hours=0.0, events=0.0)
    assert memory.market.zones["a", ""].suspect_until is None


def test_an_empty_status_is_an_empty_memory() -> None:
    memory = remembered(GptOssStatus(), NOW)
    assert (memory.scaling.target, memory.market.zones, memory.starts) == (None, {}, ())


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_dates_are_dates_or_nothing(seconds: float) -> None:
    shown = shown_date(seconds)
    assert shown is None or seconds_of(shown) is None or abs((seconds_of(shown) or 0.0) - seconds) <= 1


def said(tokens: float, start: str = "one") -> dict[str, object]:
    return {"x": replace(a_state(), start_id=start, counters={Counter.GENERATION_TOKENS: tokens})}


def test_tokens_are_counted_over_starts_and_silences() -> None:
    counted = Tokens()
    for state, total in (
        (said(100.0), 0.0),
        (said(150.0), 50.0),
        ({}, 50.0),
        (said(170.0), 70.0),
        (said(30.0, "two"), 100.0),
        (said(float("nan"), "two"), 100.0),
        (said(40.0, "two"), 110.0),
    ):
        counted = count_tokens(state, {"x"}, counted)  # type: ignore[arg-type]
        assert counted.total == total
    assert count_tokens({}, (), counted).last == {}


def test_prices_of_the_object_go_before_those_for_all() -> None:
    common = (PriceSpec(capacity_type="Spot", gpu_hour="2"), PriceSpec(capacity_type="OnDemand", gpu_hour="3"))
    prices = prices_of(common, (PriceSpec(capacity_type="Spot", gpu_hour="1.5"),), 2)
    assert prices.table == {
        Place(capacity=CapacityType.SPOT): 3.0,
        Place(capacity=CapacityType.ON_DEMAND): 6.0,
    }


def test_the_dearest_place_bounds_the_budget_whether_or_not_zones_have_their_own_prices() -> None:
    spot = PriceSpec(capacity_type="Spot", zone="a", gpu_hour="5")
    base = PriceSpec(capacity_type="OnDemand", zone="b", gpu_hour="3")
    prices = prices_of((), (spot, base, PriceSpec(capacity_type="OnDemand", pool="other", gpu_hour="9")), 2)
    assert PlacementPolicy(prices=prices, spot=False).dearest() == 6.0
    assert PlacementPolicy(prices=prices, spot=True).dearest() == 10.0
    assert PlacementPolicy(prices=prices, spot=True, pools=("", "other")).dearest() == 18.0
    assert PlacementPolicy(prices=prices_of((), (), 2), spot=True).dearest() is None


def test_a_spec_becomes_policies() -> None:
    spec = a_spec(
        scaling={
            "minReplicas": 2,
            "maxReplicas": 9,
            "target": {"timeToFirstTokenMilliseconds": 1500, "utilizationPercent": 60},
            "down": {"stabilizationSeconds": 120},
            "schedules": [{"name": "x", "days": ["Sun"], "start": "08:30", "end": "00:00", "minReplicas": 4}],
            "budget": {"maxHourlyCost": "12.50"},
            "prediction": {"trend": False},
        },
        spot={"enabled": True, "fallback": "None", "zones": ["b", "a"], "returnSeconds": 7},
        prices=[{"capacityType": "Spot", "gpuHour": "1"}],
    )
    policy = scaling_policy(spec, 4)
    assert (policy.min_replicas, policy.max_replicas, policy.gpus_per_replica) == (2, 9, 4)
    assert (policy.ttft_seconds, policy.utilization, policy.down_window_seconds) == (1.5, 0.6, 120)
    assert (policy.max_hourly_cost, policy.follow_trend) == (12.5, False)
    assert policy.schedules == (
        Schedule(
            name="x",
            time_zone="UTC",
            days=frozenset({6}),
            start_minute=510,
            end_minute=0,
            min_replicas=4,
            max_replicas=None,
        ),
    )
    places = placement_policy(spec, prices=prices_of((), spec.prices, 4), zones=("z",))
    assert (places.spot, places.fallback, places.zones, places.settle_seconds) == (True, False, ("b", "a"), 7)
    assert placement_policy(a_spec(), prices=prices_of((), (), 1), zones=("z", "y")).zones == ("y", "z")


def test_defaults_of_the_api_are_those_of_the_policies() -> None:
    assert scaling_policy(a_spec(), 1) == scaling_policy(a_spec(scaling={}), 1) == type(scaling_policy(a_spec(), 1))()
