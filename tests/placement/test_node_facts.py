"""What labels say of nodes, and which nodes pods ask for."""

from typing import Any

import pytest

from gptoss_operator.api.placement import CapacityLabel, GpuPool
from gptoss_operator.core.placement.node_facts import (
    CAPACITY_FACTS,
    affinity_terms,
    capacity_of,
    pool_of,
    spot_tolerations,
    zone_of,
)
from gptoss_operator.core.placement.places import CapacityType, Place


SPOT = Place(capacity=CapacityType.SPOT)
ON_DEMAND = Place(capacity=CapacityType.ON_DEMAND)
POOLS = (
    GpuPool(name="new", node_selector={"gpu": "h100"}),
    GpuPool(name="old", node_selector={"gpu": "a100", "cooling": "air"}),
)
OWN = (CapacityLabel(key="example.com/paid", spot=("cheap",), on_demand=("full",)),)


def matches(terms: list[dict[str, Any]], labels: dict[str, str]) -> bool:
    """Return what the scheduler would: whether one of the terms holds."""

    def holds(expression: dict[str, Any]) -> bool:
        inside = labels.get(expression["key"]) in expression["values"]
        return inside if expression["operator"] == "In" else not inside

    return not terms or any(all(holds(e) for e in term["matchExpressions"]) for term in terms)


@pytest.mark.parametrize(
    ("labels", "capacity"),
    [
        ({"karpenter.sh/capacity-type": "spot"}, CapacityType.SPOT),
        ({"karpenter.sh/capacity-type": "on-demand"}, CapacityType.ON_DEMAND),
        ({"karpenter.sh/capacity-type": "reserved"}, CapacityType.ON_DEMAND),
        ({"eks.amazonaws.com/capacityType": "SPOT"}, CapacityType.SPOT),
        ({"eks.amazonaws.com/capacityType": "ON_DEMAND"}, CapacityType.ON_DEMAND),
        ({"cloud.google.com/gke-spot": "true"}, CapacityType.SPOT),
        ({"cloud.google.com/gke-preemptible": "true"}, CapacityType.SPOT),
        ({"cloud.google.com/gke-provisioning": "spot"}, CapacityType.SPOT),
        ({"cloud.google.com/gke-provisioning": "standard"}, CapacityType.ON_DEMAND),
        ({"kubernetes.azure.com/scalesetpriority": "spot"}, CapacityType.SPOT),
        ({"node.kubernetes.io/lifecycle": "normal"}, CapacityType.ON_DEMAND),
        ({"gptoss.dev/capacity-type": "spot"}, CapacityType.SPOT),
        ({"gptoss.dev/capacity-type": "on-demand"}, CapacityType.ON_DEMAND),
        ({"example.com/paid": "cheap"}, CapacityType.SPOT),
        ({"example.com/paid": "full"}, CapacityType.ON_DEMAND),
        ({"kubernetes.io/os": "linux"}, CapacityType.ANY),
        ({}, CapacityType.ANY),
    ],
)
def test_the_label_says_how_a_node_is_paid_for_and_pods_ask_for_it(
    labels: dict[str, str], capacity: CapacityType
) -> None:
    assert capacity_of(labels, OWN) is capacity
    assert matches(affinity_terms(SPOT, extra=OWN), labels) == (capacity is CapacityType.SPOT)
    # A node that says nothing is one of a cluster that labels only spot machines.
    assert matches(affinity_terms(ON_DEMAND, extra=OWN), labels) == (capacity is not CapacityType.SPOT)


def test_karpenters_label_is_asked_for_first() -> None:
    for place, values in ((SPOT, ["spot"]), (ON_DEMAND, ["on-demand", "reserved"])):
        first = affinity_terms(place, extra=OWN)[0]
        assert first == {
            "matchExpressions": [{"key": "karpenter.sh/capacity-type", "operator": "In", "values": values}]
        }


def test_a_place_that_asks_for_nothing_has_no_terms() -> None:
    assert affinity_terms(Place(), pools=POOLS) == []


def test_zone_and_pool_hold_in_every_term() -> None:
    place = Place(capacity=CapacityType.SPOT, zone="a", pool="old")
    terms = affinity_terms(place, pools=POOLS)
    assert len(terms) == len(CAPACITY_FACTS)
    for term in terms:
        assert term["matchExpressions"][1:] == [
            {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a"]},
            {"key": "cooling", "operator": "In", "values": ["air"]},
            {"key": "gpu", "operator": "In", "values": ["a100"]},
        ]


def test_any_machine_of_a_pool_has_one_term() -> None:
    assert affinity_terms(Place(pool="new"), pools=POOLS) == [
        {"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["h100"]}]}
    ]


def test_a_users_label_replaces_a_known_one_of_the_same_key() -> None:
    own = (CapacityLabel(key="karpenter.sh/capacity-type", spot=("spot", "interruptible")),)
    assert capacity_of({"karpenter.sh/capacity-type": "interruptible"}, own) is CapacityType.SPOT
    keys = [term["matchExpressions"][0]["key"] for term in affinity_terms(SPOT, extra=own)]
    assert len(keys) == len(set(keys)) == len(CAPACITY_FACTS)
    later = (CapacityLabel(key="cloud.google.com/gke-spot", spot=("true", "yes")),)
    assert len(affinity_terms(SPOT, extra=later)) == len(CAPACITY_FACTS)


def test_zones_and_pools_of_nodes() -> None:
    assert zone_of({"topology.kubernetes.io/zone": "a", "failure-domain.beta.kubernetes.io/zone": "b"}) == "a"
    assert zone_of({"failure-domain.beta.kubernetes.io/zone": "b"}) == "b"
    assert zone_of({}) == ""
    assert pool_of({"gpu": "a100", "cooling": "air"}, POOLS) == "old"
    assert pool_of({"gpu": "a100"}, POOLS) == ""


def test_spot_replicas_tolerate_the_taints_of_aks_and_gke() -> None:
    tolerated = spot_tolerations()
    for key, value in (("kubernetes.azure.com/scalesetpriority", "spot"), ("cloud.google.com/gke-spot", "true")):
        assert {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"} in tolerated
