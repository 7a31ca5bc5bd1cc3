"""From what is reflected to what the core decides from."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gptoss_operator.api import names
from gptoss_operator.core.objects import Child, ObjectMeta, Pod
from gptoss_operator.core.observation import ChildKey, Manifest, Observation, ObservedChild, Owner
from gptoss_operator.shell.cluster import Cluster
from gptoss_operator.shell.ledger import Ledger
from gptoss_operator.shell.store import Key


CONTROLLER_OF_PODS: Final = {names.COMPONENT_REPLICA: "StatefulSet", names.COMPONENT_GATEWAY: "ReplicaSet"}


def owner_of(body: Manifest) -> Owner:
    """Return who the user's object is."""
    metadata = body["metadata"]
    return Owner(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
    )


def is_controlled_by(metadata: ObjectMeta, uid: str) -> bool:
    """Return whether the object's controller is the one with `uid`."""
    return any(reference.controller and reference.uid == uid for reference in metadata.owner_references)


def observe(
    owner: Owner, cluster: Cluster, ledger: Ledger, lost: Mapping[ChildKey, Child] = MappingProxyType({})
) -> Observation:
    """Return everything that is seen of one deployment. `lost` are children that no store has; see `shell.lost`."""
    deployment = Key(owner.namespace, owner.name)
    children = {key: ObservedChild(object=child, applied_digest=None) for key, child in lost.items()}
    for kind, store in cluster.children.items():
        for child in store.part_of(deployment):
            if is_controlled_by(child.metadata, owner.uid):
                key = ChildKey(kind, child.metadata.name)
                digest = ledger.applied_digest(deployment, key, child)
                children[key] = ObservedChild(object=child, applied_digest=digest)
    pods = cluster.pods.part_of(deployment)
    return Observation(
        owner=owner,
        children=children,
        replica_pods=tuple(pod for pod in pods if _is_pod_of(pod, names.COMPONENT_REPLICA)),
        gateway_pods=tuple(pod for pod in pods if _is_pod_of(pod, names.COMPONENT_GATEWAY)),
        nodes={node.metadata.name: node for node in cluster.nodes},
        problems=ledger.problems(deployment),
    )


def _is_pod_of(pod: Pod, component: str) -> bool:
    """Return whether a controller of the right kind made this pod: a person's copy with our labels does not count.

    The controller itself may be gone already while its pod still terminates, so it is not looked up.
    """
    return pod.metadata.labels.get(names.LABEL_COMPONENT) == component and any(
        reference.controller and reference.kind == CONTROLLER_OF_PODS[component]
        for reference in pod.metadata.owner_references
    )
