"""Ours calls what the operator calls, and remembers in between."""

from dataclasses import replace

from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.core.placement.places import CapacityType, Stage
from gptoss_operator.core.placement.policy import PlacementPolicy
from gptoss_operator.core.scaling.load import Load
from gptoss_operator.core.scaling.policy import ScalingPolicy
from gptoss_operator.sim.policies.ours import Ours, ours_of
from tests.sim_policies.builders import PRICES, ZONES, a_replica, a_view, on_demand, spot


def ours(*, on_spot: bool = True, least: int = 2) -> Ours:
    return Ours(
        scaling=ScalingPolicy(min_replicas=least, max_replicas=4),
        placement=PlacementPolicy(spot=on_spot, prices=PRICES, max_extra=0),
    )


def test_creates_the_base_on_demand_and_the_rest_on_spot_in_the_markets_zones() -> None:
    policy = ours(least=4)
    orders = policy.decide(a_view())
    assert orders.target == 4
    assert [place.capacity for place in orders.creates].count(CapacityType.ON_DEMAND) == 1
    assert {place.zone for place in orders.creates if place.capacity is CapacityType.SPOT} == set(ZONES)


def test_without_spot_it_pays_on_demand_and_keeps_what_it_has() -> None:
    policy = ours(on_spot=False)
    assert policy.decide(a_view()).creates == (on_demand(), on_demand())
    orders = policy.decide(a_view(5.0, existing=[a_replica(0), a_replica(1)]))
    assert (orders.creates, orders.removes) == ((), ())


def test_what_was_removed_counts_no_more_while_it_drains() -> None:
    policy = ours(least=1)
    replicas = [a_replica(0), a_replica(1, Stage.DOOMED, spot("a"))]
    first = policy.decide(a_view(0.0, existing=replicas))
    assert first.removes == (1,)
    second = policy.decide(a_view(5.0, existing=replicas))
    assert second.removes == ()
    assert policy.place is not None
    assert policy.place.memory.clock == 5.0, "it remembers"


def test_a_spec_becomes_the_policy_that_the_operator_would_follow() -> None:
    spec = GptOssSpec.model_validate(
        {
            "model": {"name": "gpt-oss-120b"},
            "scaling": {"minReplicas": 2, "maxReplicas": 7, "target": {"utilizationPercent": 60}},
            "spot": {"enabled": True, "baseOnDemand": 0},
        }
    )
    policy = ours_of(spec, gpus=2, prices=PRICES, name="yours")
    assert (policy.scaling.min_replicas, policy.scaling.max_replicas, policy.scaling.utilization) == (2, 7, 0.6)
    assert (policy.scaling.gpus_per_replica, policy.placement.base_on_demand, policy.name) == (2, 0, "yours")


def test_a_number_set_by_hand_is_kept() -> None:
    spec = GptOssSpec.model_validate({"model": {"name": "gpt-oss-120b"}, "replicas": 3})
    policy = ours_of(spec, gpus=1, prices=PRICES)
    busy = replace(Load(), gateway_age_seconds=1.0, queued=500.0, held=0.0, in_flight=100.0)
    assert policy.decide(a_view(load=busy)).target == 3
