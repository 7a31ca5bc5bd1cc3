"""Whether one more replica has room beside those that are there, and whether a node may come for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.core.capacity import gpus_of_node
from gptoss_operator.core.health import holds
from gptoss_operator.core.objects import Node, Taint
from gptoss_operator.core.observation import Observation
from gptoss_operator.core.placement.node_facts import SPOT_TAINTS


GROWS: Final = {
    "karpenter.sh/nodepool": "Karpenter",
    "cloud.google.com/gke-nodepool": "a GKE node pool",
    "eks.amazonaws.com/nodegroup": "an EKS node group",
    "kubernetes.azure.com/agentpool": "an AKS node pool",
}
"""Labels of nodes that belong to something which may make more of them, and what that is."""
SPOT_KEYS: Final = frozenset(key for key, _ in SPOT_TAINTS)
"""Taints of spot machines, which replicas that are meant for them bear."""
KEEPS_OUT: Final = ("NoSchedule", "NoExecute")


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is known of room for further replicas."""

    replicas: int | None
    """How many more fit on the nodes. None: nodes may not be read."""
    grows: str = ""
    """What may make more nodes. Empty: nothing is seen that does."""
    words: str
    """The same for people."""


def room_of(spec: GptOssSpec, gpus: int, seen: Observation, *, claimed: int) -> Room:
    """Return how many more replicas of `gpus` GPUs fit on the nodes that the spec chooses.

    `claimed` is how many are on their way to a node already.

    GPUs that somebody else's pods have taken are not known; a replica that finds no room in spite of this waits, which
    is seen then.
    """
    if not seen.nodes:
        return Room(replicas=None, words="nodes are not known, so room is tried for")
    usable = [node for node in seen.nodes.values() if _is_usable(node, spec)]
    free = sum(max(0, gpus_of_node(node, spec) - seen.gpus_used.get(node.metadata.name, 0)) // gpus for node in usable)
    free = max(0, free - claimed)
    chosen = [node for node in seen.nodes.values() if _is_chosen(node, spec)]
    grows = next((word for label, word in GROWS.items() if any(label in n.metadata.labels for n in chosen)), "")
    what = f"{free} more replica{'s' if free != 1 else ''} of {gpus} GPU{'s' if gpus != 1 else ''}"
    more = f", and {grows} may add some" if grows else ", and nothing is seen that adds nodes"
    return Room(replicas=free, grows=grows, words=f"the nodes have room for {what}{more}")


def _is_chosen(node: Node, spec: GptOssSpec) -> bool:
    return _has(node.metadata.labels, spec.gpu.node_selector)


def _is_usable(node: Node, spec: GptOssSpec) -> bool:
    tolerated = all(_tolerates(spec, taint) for taint in node.spec.taints if taint.effect in KEEPS_OUT)
    in_pool = not spec.gpu.pools or any(_has(node.metadata.labels, pool.node_selector) for pool in spec.gpu.pools)
    return holds(node, "Ready") and not node.spec.unschedulable and tolerated and in_pool and _is_chosen(node, spec)


def _tolerates(spec: GptOssSpec, taint: Taint) -> bool:
    if taint.key == spec.gpu.resource or (spec.spot.enabled and taint.key in SPOT_KEYS):
        return True
    return any(
        (t.key in (None, taint.key))
        and (t.effect in (None, taint.effect))
        and (t.operator == "Exists" or (t.value or "") == taint.value)
        for t in spec.gpu.tolerations
    )


def _has(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in wanted.items())
