"""Which replicas should exist, and which small step each slot takes next.

Progress is derived from what is seen alone, so it may be called after any interruption.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from gptoss_operator.api.names import LABEL_REVISION, LABEL_SLOT
from gptoss_operator.api.status import Reason
from gptoss_operator.core.health import Judgement, PodState, judge
from gptoss_operator.core.objects import Child, Pod
from gptoss_operator.core.observation import Observation, ObservedChild
from gptoss_operator.core.placement.decision import Create, Remove
from gptoss_operator.core.placement.places import ANYWHERE, Place
from gptoss_operator.core.render.machine import place_of


POD_EXPECTED_WITHIN = timedelta(seconds=10)
"""How long the StatefulSet controller may take to create a pod before its absence is a problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """What is seen in one slot: a StatefulSet, its pod, or a pod that outlives its StatefulSet."""

    slot: int
    workload: ObservedChild | None
    pod: Pod | None
    judgement: Judgement

    @property
    def exists(self) -> bool:
        """Whether the slot is taken by a StatefulSet that stays."""
        return self.workload is not None and self.workload.object.metadata.deletion_timestamp is None

    @property
    def place(self) -> Place:
        """What was asked of its machine."""
        return place_of(self.workload.object.metadata.labels) if self.workload else ANYWHERE

    @property
    def ready(self) -> bool:
        """Whether its pod answers requests, and stays."""
        return self.exists and self.judgement.state is PodState.READY


class Action(StrEnum):
    """What to do with one slot."""

    CREATE = "create"
    KEEP = "keep"
    UPDATE = "update"
    """Give its StatefulSet the new pod template. The pod stays until it is replaced."""
    REPLACE_POD = "replace-pod"
    """Delete its pod, so that one of the new template takes its place."""
    HOLD = "hold"
    """Of an old revision, and waits for its turn."""
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one slot does next, and why."""

    slot: int
    action: Action
    reason: str
    place: Place = ANYWHERE
    """What is asked of its machine."""


def replicas_of(seen: Observation, now: datetime) -> tuple[Replica, ...]:
    """Return what is seen in each slot, in the order of slots."""
    workloads = {
        slot: child
        for key, child in seen.children.items()
        if key.kind == "StatefulSet" and (slot := _slot(child.object)) is not None
    }
    pods: dict[int, Pod] = {}
    for pod in seen.replica_pods:
        slot = _slot(pod)
        # A slot has two pods only while one leaves; the one that stays counts.
        if slot is not None and (slot not in pods or pods[slot].metadata.deletion_timestamp):
            pods[slot] = pod
    return tuple(
        Replica(
            slot=slot,
            workload=workloads.get(slot),
            pod=pods.get(slot),
            judgement=_judge(workloads.get(slot), pods.get(slot), seen, now),
        )
        for slot in sorted(workloads.keys() | pods.keys())
    )


def decide_fleet(
    creates: Sequence[Create],
    removes: Sequence[Remove],
    replicas: Sequence[Replica],
    revision: str,
    *,
    lost: Collection[int] = (),
) -> tuple[Step, ...]:
    """Return the next step of every slot that is or should be taken.

    Creates and removes as the placement says. Replaces one ready replica at a time, and only while all others are
    ready; one that is not ready has nothing to lose and is replaced at once. The slots of those that are `lost`, which
    have successors, are not waited for.
    """
    why = {remove.slot: remove.reason for remove in removes}
    existing = [replica for replica in replicas if replica.exists]
    kept = [replica for replica in existing if replica.slot not in why]
    # A new pod would wait for one that still leaves under the same name, so slots in use are passed over.
    slots = _free_slots(len(creates), taken={replica.slot for replica in replicas})
    return tuple(
        sorted(
            (
                *(_step(r, Action.REMOVE, why[r.slot]) for r in existing if r.slot in why),
                *_updates(kept, revision, all_there=not creates, lost=lost),
                *(
                    Step(slot=slot, action=Action.CREATE, reason=create.reason, place=create.place)
                    for slot, create in zip(slots, creates, strict=True)
                ),
            ),
            key=lambda step: step.slot,
        )
    )


def held_back(steps: Iterable[Step], why: str) -> tuple[Step, ...]:
    """Return `steps` without those that need the new template: none is created, and the others stay as they are."""
    return tuple(
        step if step.action in (Action.KEEP, Action.REMOVE) else replace(step, action=Action.HOLD, reason=why)
        for step in steps
        if step.action is not Action.CREATE
    )


def _updates(kept: Sequence[Replica], revision: str, *, all_there: bool, lost: Collection[int]) -> Iterable[Step]:
    """Yield the steps that bring `kept` to `revision`, at most one of which takes a ready replica away."""
    may_disturb = all_there and all(replica.ready for replica in kept if replica.slot not in lost)
    for replica in kept:
        action = update_action(replica, revision)
        if action is Action.KEEP:
            yield _step(replica, action, "as it should be")
        elif not replica.ready:
            yield _step(replica, action, f"not ready, and not of revision {revision}")
        elif may_disturb:
            may_disturb = False
            yield _step(replica, action, f"not of revision {revision}, all others are ready")
        else:
            yield _step(replica, Action.HOLD, "waits until the other replicas are ready")


def _step(replica: Replica, action: Action, reason: str) -> Step:
    return Step(slot=replica.slot, action=action, reason=reason, place=replica.place)


def update_action(replica: Replica, revision: str) -> Action:
    """Return what the replica needs to be of `revision`, whether or not it is its turn."""
    if replica.workload and _revision(replica.workload.object) != revision:
        return Action.UPDATE
    pod = replica.pod
    if pod and not pod.metadata.deletion_timestamp and _revision(pod) != revision:
        return Action.REPLACE_POD
    return Action.KEEP


def _free_slots(count: int, taken: set[int]) -> list[int]:
    free: list[int] = []
    slot = 0
    while len(free) < count:
        if slot not in taken:
            free.append(slot)
        slot += 1
    return free


def _judge(workload: ObservedChild | None, pod: Pod | None, seen: Observation, now: datetime) -> Judgement:
    if pod:
        return judge(pod, seen.nodes, now, seen.replica_states.get(pod.metadata.uid))
    name = workload.object.metadata.name if workload else ""
    if now - seen.podless_since.get(name, now) > POD_EXPECTED_WITHIN:
        return Judgement(
            state=PodState.FAILING,
            reason=Reason.POD_NOT_CREATED,
            message=f"the cluster does not create its pod: `kubectl describe statefulset {name}` says why "
            "(Pod Security, a quota, or a missing ServiceAccount or PriorityClass)",
        )
    return Judgement(state=PodState.STARTING, reason=Reason.REPLICAS_STARTING, message="its pod is being created")


def _slot(thing: Child | Pod) -> int | None:
    label = thing.metadata.labels.get(LABEL_SLOT, "")
    return int(label) if label.isdecimal() else None


def _revision(thing: Child | Pod) -> str:
    return thing.metadata.labels.get(LABEL_REVISION, "")
