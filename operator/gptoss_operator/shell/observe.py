"""From what is reflected to what the core decides from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

from gptoss_operator.api import names
from gptoss_operator.core.objects import Child, ObjectMeta, Pod, Record
from gptoss_operator.core.observation import ChildKey, Manifest, Observation, ObservedChild, Owner
from gptoss_operator.core.scaling.load import NOTHING_KNOWN, Load
from gptoss_operator.shell.cluster import Cluster
from gptoss_operator.shell.ledger import Ledger
from gptoss_operator.shell.store import Key
from gptoss_runtime.contract import ReplicaState


CONTROLLER_OF_PODS: Final = {
    names.COMPONENT_REPLICA: "StatefulSet",
    names.COMPONENT_GATEWAY: "ReplicaSet",
    names.COMPONENT_WEIGHTS: "Job",
}

LoadOf = Callable[[Sequence[Pod], Sequence[Pod], Key], Load]
"""Returns the load of a deployment with these gateway pods and these replica pods."""


def owner_of(body: Manifest) -> Owner:
    """Return who the user's object is."""
    metadata = body["metadata"]
    return Owner(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
    )


def is_replica(pod: Pod) -> bool:
    """Return whether this is the pod of a replica, and not a person's copy of one."""
    return _is_pod_of(pod, names.COMPONENT_REPLICA)


def is_gateway(pod: Pod) -> bool:
    """Return whether this is a pod of a gateway, and not a person's copy of one."""
    return _is_pod_of(pod, names.COMPONENT_GATEWAY)


def is_controlled_by(metadata: ObjectMeta, uid: str) -> bool:
    """Return whether the object's controller is the one with `uid`."""
    return any(reference.controller and reference.uid == uid for reference in metadata.owner_references)


def observe(
    owner: Owner,
    cluster: Cluster,
    ledger: Ledger,
    lost: Mapping[ChildKey, Child] = MappingProxyType({}),
    secret_names: Iterable[str] = (),
    *,
    gpu_resource: str = "",
    hears_replicas: bool = True,
    state_of: Callable[[str], ReplicaState | None] = lambda _uid: None,
    load_of: LoadOf = lambda _gateways, _replicas, _deployment: NOTHING_KNOWN,
    out_of_reach_since: Callable[[str], datetime | None] = lambda _uid: None,
) -> Observation:
    """Return everything that is seen of one deployment.

    `lost` are children that no store has; see `shell.lost`. `secret_names` are the Secrets that it uses, `gpu_resource`
    is what its replicas ask GPUs of. `hears_replicas` says whether replicas are asked for their state. `state_of`
    returns what the replica in the pod with a uid said a moment ago, or None; `load_of` what the pods of gateways and
    replicas have measured; `out_of_reach_since` since when nobody reaches the replica in the pod with a uid, or None.
    """
    deployment = Key(owner.namespace, owner.name)
    children = {key: ObservedChild(object=child, applied_digest=None) for key, child in lost.items()}
    for kind, store in cluster.children.items():
        for child in store.part_of(deployment):
            if is_controlled_by(child.metadata, owner.uid):
                key = ChildKey(kind, child.metadata.name)
                digest = ledger.applied_digest(deployment, key, child)
                children[key] = ObservedChild(object=child, applied_digest=digest)
    pods = cluster.pods.part_of(deployment)
    replica_pods = tuple(pod for pod in pods if is_replica(pod))
    gateway_pods = tuple(pod for pod in pods if is_gateway(pod))
    states = ((pod.metadata.uid, state_of(pod.metadata.uid)) for pod in replica_pods)
    silences = ((pod.metadata.uid, out_of_reach_since(pod.metadata.uid)) for pod in replica_pods)
    return Observation(
        owner=owner,
        children=children,
        replica_pods=replica_pods,
        revisions=_revisions(owner, children),
        replica_states={uid: state for uid, state in states if state is not None},
        hears_replicas=hears_replicas,
        load=load_of(gateway_pods, replica_pods, deployment),
        unreachable={uid: since for uid, since in silences if since is not None},
        gateway_pods=gateway_pods,
        weights_pods=tuple(pod for pod in pods if _is_pod_of(pod, names.COMPONENT_WEIGHTS)),
        nodes={node.metadata.name: node for node in cluster.nodes},
        gpus_used=cluster.gpus_used.of(gpu_resource),
        secrets=_versions(owner.namespace, secret_names, cluster),
        problems=ledger.problems(deployment),
    )


def _revisions(owner: Owner, children: Mapping[ChildKey, ObservedChild]) -> Mapping[str, Record]:
    """Return the records of revisions. Their names say which: those cannot be changed, unlike their labels."""
    prefix = names.revision_record(owner.name, "")
    records = (child.object for child in children.values())
    return {
        record.metadata.name.removeprefix(prefix): record
        for record in records
        if isinstance(record, Record) and record.metadata.name.startswith(prefix)
    }


def _versions(namespace: str, secret_names: Iterable[str], cluster: Cluster) -> Mapping[str, str] | None:
    """Return the version of each of the Secrets that is there. None: they may not be read."""
    if not cluster.secrets.watches(cluster.scope_of(namespace)):
        return None
    found = (cluster.secrets.get(Key(namespace, name)) for name in secret_names)
    return {secret.metadata.name: secret.metadata.resource_version for secret in found if secret is not None}


def _is_pod_of(pod: Pod, component: str) -> bool:
    """Return whether a controller of the right kind made this pod: a person's copy with our labels does not count.

    The controller itself may be gone already while its pod still terminates, so it is not looked up.
    """
    return pod.metadata.labels.get(names.LABEL_COMPONENT) == component and any(
        reference.controller and reference.kind == CONTROLLER_OF_PODS[component]
        for reference in pod.metadata.owner_references
    )
