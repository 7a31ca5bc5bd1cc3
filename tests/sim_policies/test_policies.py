"""Baselines say what their published laws say."""

import pytest

from gptoss_operator.core.placement.places import CapacityType, Interruption, Stage
from gptoss_operator.core.scaling.load import Load, ReplicaLoad
from gptoss_operator.sim.contract import Policy
from gptoss_operator.sim.policies.keda import Keda
from gptoss_operator.sim.policies.knative import Knative
from gptoss_operator.sim.policies.kubeai import KubeAI
from gptoss_operator.sim.policies.skyserve import RequestRate, SkyServe
from gptoss_operator.sim.policies.spothedge import Placer, SpotHedge
from gptoss_operator.sim.policies.static import Static
from tests.sim_policies.builders import PRICES, ZONES, a_replica, a_view, on_demand, replicas, spot


def busy(*, queued: float = 0.0, in_flight: float = 0.0, rate: float | None = None) -> Load:
    return Load(gateway_age_seconds=1.0, queued=queued, held=0.0, in_flight=in_flight, arrivals_1m=rate)


def test_static_replaces_what_is_missing_and_no_more() -> None:
    orders = Static(replicas=3).decide(a_view(existing=[a_replica(0), a_replica(1, Stage.LOST)]))
    assert (orders.creates, orders.removes) == ((on_demand(), on_demand()), ())


def test_keda_divides_the_waiting_requests_by_the_threshold() -> None:
    orders = Keda(threshold=5).decide(a_view(load=busy(queued=22), existing=replicas(2)))
    assert orders.target == 5


def test_keda_counts_what_waits_in_replicas_too() -> None:
    load = Load(queued=2.0, held=0.0, replicas={0: ReplicaLoad(waiting=10.0), 1: ReplicaLoad()})
    assert Keda(threshold=5).decide(a_view(load=load, existing=replicas(2))).target == 3


def test_keda_tolerates_a_tenth() -> None:
    assert Keda(threshold=5).decide(a_view(load=busy(queued=10.9), existing=replicas(2))).target == 2


def test_keda_adds_four_or_doubles_at_once() -> None:
    assert Keda(threshold=1).decide(a_view(load=busy(queued=500), existing=replicas(2))).target == 6
    assert Keda(threshold=1).decide(a_view(load=busy(queued=500), existing=replicas(8))).target == 16


def test_keda_keeps_the_greatest_recommendation_of_five_minutes() -> None:
    policy = Keda(threshold=5)
    assert policy.decide(a_view(0, busy(queued=20), replicas(4))).target == 4
    assert policy.decide(a_view(300, busy(), replicas(4))).target == 4
    assert policy.decide(a_view(315, busy(), replicas(4))).target == 1


def test_keda_falls_back_to_two_after_three_failed_polls() -> None:
    policy = Keda(down_window_seconds=0)
    targets = [policy.decide(a_view(15 * tick, Load(), replicas(5))).target for tick in range(3)]
    assert targets == [5, 5, 2]


def test_knative_follows_the_mean_of_a_minute() -> None:
    policy = Knative(concurrency=10, utilization=1.0)
    for tick in range(29):
        policy.decide(a_view(2.0 * tick, busy(in_flight=20), replicas(2)))
    assert policy.decide(a_view(58, busy(in_flight=50), replicas(2))).target == 3


def test_knative_panics_and_removes_nothing_until_a_minute_after() -> None:
    policy = Knative(concurrency=10, utilization=1.0)
    assert policy.decide(a_view(0, busy(in_flight=80), replicas(2))).target == 8
    for tick in range(1, 8):
        calm = policy.decide(a_view(2.0 * tick, busy(in_flight=10), replicas(8)))
        assert calm.target == 8
    assert policy.decide(a_view(70, busy(in_flight=10), replicas(8))).target == 4


def test_kubeai_takes_ten_minutes_and_waits_for_three_lower_ticks() -> None:
    policy = KubeAI(target_requests=10)
    targets = [policy.decide(a_view(10.0 * tick, busy(in_flight=5), replicas(4))).target for tick in range(4)]
    assert targets == [4, 4, 1, 1]


def test_kubeai_skips_a_tick_without_numbers() -> None:
    assert KubeAI().decide(a_view(load=Load(), existing=replicas(4))).target == 4


def test_skyserve_follows_after_five_minutes_up_and_twenty_down() -> None:
    rate = RequestRate(qps_per_replica=2.0)
    ups = [rate.follow(busy(rate=6.0)) for _ in range(15)]
    assert ups == [1] * 14 + [3]
    downs = [rate.follow(busy(rate=1.0)) for _ in range(60)]
    assert downs == [3] * 59 + [1]


def test_skyserve_keeps_its_target_when_the_rate_is_not_known() -> None:
    policy = SkyServe(rate=RequestRate(qps_per_replica=2.0, min_replicas=2))
    assert policy.decide(a_view(load=Load(), existing=replicas(2))).creates == ()


def test_spothedge_buys_on_demand_for_every_spot_replica_that_is_not_ready() -> None:
    policy = SpotHedge(rate=RequestRate(qps_per_replica=2.0, min_replicas=3), overprovision=1)
    orders = policy.decide(a_view(load=busy(rate=1.0)))
    kinds = [place.capacity for place in orders.creates]
    assert kinds.count(CapacityType.SPOT) == 4
    assert kinds.count(CapacityType.ON_DEMAND) == 3, "never for what is overprovisioned"


def test_spothedge_gives_on_demand_up_as_soon_as_spot_is_ready() -> None:
    policy = SpotHedge(rate=RequestRate(qps_per_replica=2.0, min_replicas=2), overprovision=0)
    existing = [a_replica(0, place=spot("a")), a_replica(1, place=spot("b")), a_replica(2)]
    assert policy.decide(a_view(load=busy(rate=1.0), existing=existing)).removes == (2,)


def test_spothedge_never_asks_for_fewer_than_none_on_demand() -> None:
    policy = SpotHedge(rate=RequestRate(qps_per_replica=2.0, min_replicas=1), overprovision=0)
    existing = [a_replica(slot, place=spot("a")) for slot in range(4)]
    orders = policy.decide(a_view(load=busy(rate=1.0), existing=existing))
    assert orders.creates == ()
    assert orders.removes == (3, 2, 1)


def test_spothedge_leaves_a_zone_that_refused_and_ends_the_launch() -> None:
    policy = SpotHedge(rate=RequestRate(qps_per_replica=2.0, min_replicas=1), overprovision=0)
    pending = [a_replica(0, Stage.PENDING, spot("a")), a_replica(1)]
    orders = policy.decide(a_view(load=busy(rate=1.0), existing=pending, refused=[spot("a")]))
    assert orders.removes == (0,)
    assert [place.zone for place in orders.creates] == ["b"]


def test_the_placer_spreads_and_forgets_when_fewer_than_two_zones_are_left() -> None:
    placer = Placer(zones=ZONES, prices=PRICES)
    assert placer.next_zone(["a"]) == "b"
    placer.failed("b")
    assert placer.next_zone(["a"]) == "c"
    placer.failed("a")
    assert placer.inactive == set()


def test_spothedge_hears_of_interruptions() -> None:
    policy = SpotHedge(rate=RequestRate(qps_per_replica=2.0, min_replicas=1), overprovision=0)
    gone = [Interruption(zone="a", pool="", at=0.0)]
    orders = policy.decide(a_view(load=busy(rate=1.0), interruptions=gone))
    assert [place.zone for place in orders.creates if place.zone] == ["b"]


@pytest.mark.parametrize(
    "policy",
    [
        Static(replicas=2),
        Keda(min_replicas=2),
        Knative(min_replicas=2),
        KubeAI(min_replicas=2),
        SkyServe(rate=RequestRate(qps_per_replica=1.0, min_replicas=2)),
        SpotHedge(rate=RequestRate(qps_per_replica=1.0, min_replicas=2)),
    ],
    ids=lambda policy: policy.name,
)
def test_every_policy_keeps_its_minimum_and_names_itself(policy: Policy) -> None:
    for tick in range(200):
        orders = policy.decide(a_view(20.0 * tick, busy(rate=0.0), replicas(2)))
        assert not orders.removes
    assert policy.name
    assert policy.interval_seconds > 0
