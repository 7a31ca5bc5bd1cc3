"""What differs between what should be there and what is seen: the objects to apply, and those to delete."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from gptoss_operator.api.names import ANNOTATION_TRAFFIC, replica
from gptoss_operator.core.actions import Annotate, Apply, Delete, digest_of
from gptoss_operator.core.fleet import AS_IT_SHOULD_BE, Action, Replica, Step
from gptoss_operator.core.observation import ChildKey, Manifest, Observation
from gptoss_operator.core.render.statefulset import traffic_of
from gptoss_operator.core.weights import Weights, is_record
from gptoss_runtime.contract import Traffic


def applies_of(wanted: Mapping[ChildKey, Manifest], steps: Sequence[Step], seen: Observation) -> Iterable[Apply]:
    """Yield what is missing, outdated, or changed by somebody else. A replica that is on hold stays as it is."""
    held = {ChildKey("StatefulSet", replica(seen.owner.name, s.slot)) for s in steps if s.action is Action.HOLD}
    why = {
        ChildKey("StatefulSet", replica(seen.owner.name, s.slot)): s.reason
        for s in steps
        if s.reason != AS_IT_SHOULD_BE
    }
    for key, manifest in wanted.items():
        child = seen.children.get(key)
        digest = digest_of(manifest)
        if key in held or (child and child.applied_digest == digest):
            continue
        default = "it is not known to be as it should" if child else "it does not exist"
        yield Apply(manifest=manifest, digest=digest, exists=child is not None, reason=why.get(key, default))


def replica_deletes(replicas: Sequence[Replica], steps: Sequence[Step]) -> Iterable[Delete]:
    """Yield the replicas that are not wanted any more."""
    by_slot = {replica.slot: replica for replica in replicas}
    for step in steps:
        seen = by_slot.get(step.slot)
        if step.action is Action.REMOVE and seen and seen.workload:
            meta = seen.workload.object.metadata
            key = ChildKey("StatefulSet", meta.name)
            yield Delete(key=key, uid=meta.uid, resource_version=meta.resource_version, reason=step.reason)


def traffic_told(replicas: Sequence[Replica], steps: Sequence[Step]) -> Iterable[Annotate]:
    """Yield the pods that are told which requests they get from now on. One that nothing is said to gets all."""
    shares = {step.slot: step.share for step in steps if step.action is Action.KEEP}
    for seen in replicas:
        pod = seen.pod
        if pod is None or pod.metadata.deletion_timestamp or seen.slot not in shares:
            continue
        wanted, said = traffic_of(shares[seen.slot]), pod.metadata.annotations.traffic
        if wanted != said and not (wanted == Traffic.OPEN and not said):
            meta = pod.metadata
            reason = f"which requests it gets: {wanted}"
            yield Annotate(pod=meta.name, uid=meta.uid, annotation=ANNOTATION_TRAFFIC, value=wanted, reason=reason)


def leftovers(wanted: Collection[ChildKey], weights: Weights, seen: Observation, *, rolling: bool) -> Iterable[Delete]:
    """Yield what an earlier spec or release asked for and this one has no use for.

    A claim goes last, when no replica of another revision, or one that may come back, needs it for a pod: not while
    `rolling`.
    """
    spared = {"StatefulSet", "PersistentVolumeClaim"} if rolling else {"StatefulSet"}
    for key, child in seen.children.items():
        meta = child.object.metadata
        kept = key in wanted or key.kind in spared or is_record(child.object, weights)
        if not kept and meta.deletion_timestamp is None:
            yield Delete(key=key, uid=meta.uid, resource_version=meta.resource_version, reason="no longer needed")
