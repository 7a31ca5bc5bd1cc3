"""What differs between what should be there and what is seen: the objects to apply, and those to delete."""

from collections.abc import Iterable, Mapping, Sequence

from gptoss_operator.api.names import replica
from gptoss_operator.core.actions import Apply, Delete, digest_of
from gptoss_operator.core.fleet import Action, Replica, Step
from gptoss_operator.core.observation import ChildKey, Manifest, Observation
from gptoss_operator.core.weights import Weights, is_record


def applies_of(wanted: Mapping[ChildKey, Manifest], steps: Sequence[Step], seen: Observation) -> Iterable[Apply]:
    """Yield what is missing, outdated, or changed by somebody else. A replica that is on hold stays as it is."""
    held = {ChildKey("StatefulSet", replica(seen.owner.name, s.slot)) for s in steps if s.action is Action.HOLD}
    why = {
        ChildKey("StatefulSet", replica(seen.owner.name, s.slot)): s.reason
        for s in steps
        if s.action is not Action.KEEP
    }
    for key, manifest in wanted.items():
        child = seen.children.get(key)
        digest = digest_of(manifest)
        if key in held or (child and child.applied_digest == digest):
            continue
        default = "it is not known to be as it should" if child else "it does not exist"
        yield Apply(manifest=manifest, digest=digest, exists=child is not None, reason=why.get(key, default))


def replica_deletes(replicas: Sequence[Replica], steps: Sequence[Step]) -> Iterable[Delete]:
    """Yield the replicas that are not wanted any more, and the pods that others of the new template replace."""
    by_slot = {replica.slot: replica for replica in replicas}
    for step in steps:
        seen = by_slot.get(step.slot)
        if step.action is Action.REMOVE and seen and seen.workload:
            meta = seen.workload.object.metadata
            kind = "StatefulSet"
        elif step.action is Action.REPLACE_POD and seen and seen.pod:
            meta, kind = seen.pod.metadata, "Pod"
        else:
            continue
        yield Delete(
            key=ChildKey(kind, meta.name), uid=meta.uid, resource_version=meta.resource_version, reason=step.reason
        )


def leftovers(
    wanted: Mapping[ChildKey, Manifest], steps: Sequence[Step], weights: Weights, seen: Observation
) -> Iterable[Delete]:
    """Yield what an earlier spec or release asked for and this one has no use for.

    A claim goes last, when no replica of an earlier template may still need it for a new pod.
    """
    updated = all(step.action in (Action.KEEP, Action.CREATE) for step in steps)
    spared = {"StatefulSet"} if updated else {"StatefulSet", "PersistentVolumeClaim"}
    for key, child in seen.children.items():
        meta = child.object.metadata
        kept = key in wanted or key.kind in spared or is_record(child.object, weights)
        if not kept and meta.deletion_timestamp is None:
            yield Delete(key=key, uid=meta.uid, resource_version=meta.resource_version, reason="no longer needed")
