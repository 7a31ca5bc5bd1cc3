"""Simulated machines as four kinds of clusters label them. Each has one GPU, so every replica has its own."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from e2e.cluster.local.kwok import gpu_node
from e2e.kubectl import Kubectl


FLEET_LABEL = "simulated-fleet"
"""Label of the machines of one test; its value is the test's namespace."""
CAPACITY_LABEL = "karpenter.sh/capacity-type"
"""What the other machines of the cluster have, and these have not."""
ON_DEMAND, SPOT = "on-demand", "spot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelling:
    """How machines of one kind of cluster say what they are."""

    name: str
    on_demand: Mapping[str, str] = field(default_factory=dict)
    spot: Mapping[str, str]
    spot_taints: Sequence[Mapping[str, str]] = ()

    def node(self, name: str, fleet: str, *, spot: bool, zone: str) -> dict[str, Any]:
        """Return a machine with one GPU."""
        node = gpu_node(name, zone=zone, gpus=1)
        labels = node["metadata"]["labels"]
        del labels[CAPACITY_LABEL]
        labels |= {FLEET_LABEL: fleet, **(self.spot if spot else self.on_demand)}
        if spot:
            node["spec"] = {"taints": [dict(taint) for taint in self.spot_taints]}
        return node


LABELLINGS = (
    Labelling(
        name="eks",
        on_demand={"eks.amazonaws.com/capacityType": "ON_DEMAND"},
        spot={"eks.amazonaws.com/capacityType": "SPOT"},
    ),
    Labelling(name="gke", spot={"cloud.google.com/gke-spot": "true"}),
    Labelling(
        name="aks",
        spot={"kubernetes.azure.com/scalesetpriority": "spot"},
        spot_taints=[{"key": "kubernetes.azure.com/scalesetpriority", "value": "spot", "effect": "NoSchedule"}],
    ),
    Labelling(
        name="plain",
        on_demand={"gptoss.dev/capacity-type": ON_DEMAND},
        spot={"gptoss.dev/capacity-type": SPOT},
    ),
)


@contextmanager
def fleet_of(user: Kubectl, labelling: Labelling, machines: Mapping[str, tuple[str, str]]) -> Iterator[None]:
    """Have machines, each with its capacity type and zone, as long as it is open. Their names are `machine`'s."""
    nodes = [
        labelling.node(machine(user, name), user.namespace, spot=kind == SPOT, zone=zone)
        for name, (kind, zone) in machines.items()
    ]
    user.apply(*nodes)
    try:
        yield
    finally:
        user("delete", "nodes", f"--selector={FLEET_LABEL}={user.namespace}", "--wait=false")


def machine(user: Kubectl, name: str) -> str:
    """Return the full name of a machine."""
    return f"{user.namespace}-{name}"
