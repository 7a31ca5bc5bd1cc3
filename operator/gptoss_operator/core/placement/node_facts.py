"""What the labels of nodes say of them, and how pods ask for nodes of a kind: a table, which users can extend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gptoss_operator.api.placement import CapacityLabel, GpuPool
from gptoss_operator.core.placement.places import CapacityType, Place


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityFact:
    """A label of nodes that tells spot machines from on-demand ones."""

    key: str
    spot: tuple[str, ...]
    """Its values on spot machines."""
    on_demand: tuple[str, ...] = ()
    """Its values on on-demand machines. Empty: they do not have the label."""


CAPACITY_FACTS: Final = (
    # karpenter.sh/docs/concepts/scheduling: well-known labels; `reserved` since 1.3 is paid like on-demand.
    CapacityFact(key="karpenter.sh/capacity-type", spot=("spot",), on_demand=("on-demand", "reserved")),
    # Ours, for nodes that nobody else labels: docs/how-to/spot.md.
    CapacityFact(key="gptoss.dev/capacity-type", spot=("spot",), on_demand=("on-demand",)),
    # docs.aws.amazon.com/eks/latest/userguide/managed-node-groups.html: capacity types.
    CapacityFact(key="eks.amazonaws.com/capacityType", spot=("SPOT",), on_demand=("ON_DEMAND", "CAPACITY_BLOCK")),
    # cloud.google.com/kubernetes-engine/docs/concepts/spot-vms and .../preemptible-vms: only on such nodes.
    CapacityFact(key="cloud.google.com/gke-spot", spot=("true",)),
    CapacityFact(key="cloud.google.com/gke-preemptible", spot=("true",)),
    # On all nodes of newer GKE versions.
    CapacityFact(key="cloud.google.com/gke-provisioning", spot=("spot", "preemptible"), on_demand=("standard",)),
    # learn.microsoft.com/azure/aks/spot-node-pool: only on spot nodes, with a taint of the same key.
    CapacityFact(key="kubernetes.azure.com/scalesetpriority", spot=("spot",), on_demand=("regular",)),
    # Convention of kOps, Terraform modules and bootstrap scripts: what EC2's metadata calls instance-life-cycle.
    CapacityFact(key="node.kubernetes.io/lifecycle", spot=("spot",), on_demand=("normal", "on-demand")),
    # kops.sigs.k8s.io: on nodes of instance groups with a maxPrice or mixedInstancesPolicy.
    CapacityFact(key="node-role.kubernetes.io/spot-worker", spot=("true", "")),
    # docs.oracle.com: Using Preemptible Capacity in Worker Nodes; only on such nodes.
    CapacityFact(key="oci.oraclecloud.com/oke-is-preemptible", spot=("true",)),
    # cluster-api.sigs.k8s.io/reference/api/labels-and-annotations: only on interruptible machines, without a value.
    CapacityFact(key="cluster.x-k8s.io/interruptible", spot=("", "true")),
)
"""In the order in which pods ask. Karpenter's comes first: it tries terms in their order, and buys by this label."""

ZONE_LABELS: Final = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
"""kubernetes.io/docs/reference/labels-annotations-taints: the second is the older name of the first."""

SPOT_TAINTS: Final = (
    # learn.microsoft.com/azure/aks/spot-node-pool: on all nodes of spot pools.
    ("kubernetes.azure.com/scalesetpriority", "spot"),
    # cloud.google.com/kubernetes-engine/docs/concepts/spot-vms: what node auto-provisioning and Autopilot put there.
    ("cloud.google.com/gke-spot", "true"),
    ("cloud.google.com/gke-preemptible", "true"),
    ("cloud.google.com/gke-provisioning", "spot"),
    # docs.oracle.com: Using Preemptible Capacity in Worker Nodes.
    ("oci.oraclecloud.com/oke-is-preemptible", "present"),
    # Ours, and what users of Karpenter and kOps put on spot nodes by the label's own key.
    ("gptoss.dev/capacity-type", "spot"),
    ("karpenter.sh/capacity-type", "spot"),
    ("node.kubernetes.io/lifecycle", "spot"),
)
"""Key and value of the taints that keep other pods off spot machines."""

Term = dict[str, Any]
"""A nodeSelectorTerm, as it is sent to the API server."""


def capacity_of(labels: Mapping[str, str], extra: Sequence[CapacityLabel] = ()) -> CapacityType:
    """Return how a node with `labels` is paid for; Any if they do not say it.

    The labels are asked in their order, the user's own right after Karpenter's. A node is on demand only where a label
    says so: most clouds label spot machines alone, and then that there is none says nothing where nobody labels nodes.
    """
    for fact in _facts(extra):
        value = labels.get(fact.key)
        if value in fact.spot:
            return CapacityType.SPOT
        if value in fact.on_demand:
            return CapacityType.ON_DEMAND
    return CapacityType.ANY


def zone_of(labels: Mapping[str, str]) -> str:
    """Return the zone of a node with `labels`, or an empty string."""
    return next((labels[key] for key in ZONE_LABELS if labels.get(key)), "")


def pool_of(labels: Mapping[str, str], pools: Sequence[GpuPool]) -> str:
    """Return the name of the first of `pools` that a node with `labels` belongs to, or an empty string."""
    return next((p.name for p in pools if all(labels.get(k) == v for k, v in p.node_selector.items())), "")


def affinity_terms(place: Place, *, pools: Sequence[GpuPool] = (), extra: Sequence[CapacityLabel] = ()) -> list[Term]:
    """Return the nodeSelectorTerms of requiredDuringSchedulingIgnoredDuringExecution for a replica with `place`.

    A node must match one of them. Empty: any node will do. A pool that the spec does not have any more asks for
    nothing.
    """
    shared = [*_in_zone(place.zone), *_in_pool(place.pool, pools)]
    match place.capacity:
        case CapacityType.ANY:
            kinds: list[list[Term]] = [[]]
        case CapacityType.SPOT:
            kinds = [[_in(fact.key, fact.spot)] for fact in _facts(extra)]
        case CapacityType.ON_DEMAND:
            kinds = [[_in(fact.key, fact.on_demand)] for fact in _facts(extra) if fact.on_demand]
            # Where on-demand nodes have no label, they are those that no label says to be spot. NotIn holds for them.
            kinds.append([_not_in(fact.key, fact.spot) for fact in _facts(extra)])
    return [{"matchExpressions": [*kind, *shared]} for kind in kinds if kind or shared]


def spot_tolerations() -> list[dict[str, str]]:
    """Return the tolerations of replicas that are to be on spot machines."""
    return [
        {"key": key, "operator": "Equal", "value": value, "effect": effect}
        for key, value in SPOT_TAINTS
        for effect in ("NoSchedule", "NoExecute")
    ]


def _facts(extra: Sequence[CapacityLabel]) -> tuple[CapacityFact, ...]:
    """Return the known labels and the user's. One of the user's takes the place of a known one with its key."""
    own = {label.key: CapacityFact(key=label.key, spot=label.spot, on_demand=label.on_demand) for label in extra}
    first = (own.pop(CAPACITY_FACTS[0].key, CAPACITY_FACTS[0]),)
    return (*first, *own.values(), *(fact for fact in CAPACITY_FACTS[1:] if fact.key not in own))


def _in(key: str, values: Sequence[str]) -> Term:
    return {"key": key, "operator": "In", "values": list(values)}


def _not_in(key: str, values: Sequence[str]) -> Term:
    return {"key": key, "operator": "NotIn", "values": list(values)}


def _in_zone(zone: str) -> list[Term]:
    return [_in(ZONE_LABELS[0], (zone,))] if zone else []


def _in_pool(name: str, pools: Sequence[GpuPool]) -> list[Term]:
    selector = next((pool.node_selector for pool in pools if pool.name == name), {})
    return [_in(key, (value,)) for key, value in sorted(selector.items())]
