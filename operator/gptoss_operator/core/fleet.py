"""Which replicas should exist, and which small step each slot takes next.

Progress is derived from what is seen alone, so it may be called after any interruption.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from gptoss_operator.api.names import LABEL_REVISION, LABEL_SLOT
from gptoss_operator.api.status import Reason
from gptoss_operator.core.health import Judgement, PodState, judge
from gptoss_operator.core.objects import Child, Pod
from gptoss_operator.core.observation import Observation, ObservedChild


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


def decide_fleet(desired: int, replicas: Sequence[Replica], revision: str) -> tuple[Step, ...]:
    """Return the next step of every slot that is or should be taken.

    Removes what is not ready before what is, then old revisions, then high slots. Replaces one ready replica at a
    time, and only while all others are ready; one that is not ready has nothing to lose and is replaced at once.
    """
    existing = [replica for replica in replicas if replica.exists]
    surplus = max(0, len(existing) - desired)
    victims = {replica.slot for replica in sorted(existing, key=lambda r: _victim_order(r, revision))[:surplus]}
    kept = [replica for replica in existing if replica.slot not in victims]
    missing = max(0, desired - len(kept))
    # A new pod would wait for one that still leaves under the same name, so slots in use are passed over.
    created = _free_slots(missing, taken={replica.slot for replica in replicas})
    return tuple(
        sorted(
            (
                *(_remove(replica, desired) for replica in existing if replica.slot in victims),
                *_updates(kept, revision, all_there=missing == 0),
                *(Step(slot=s, action=Action.CREATE, reason=_asked(desired)) for s in created),
            ),
            key=lambda step: step.slot,
        )
    )


def held_back(steps: Iterable[Step], why: str) -> tuple[Step, ...]:
    """Return `steps` without those that need the new template: none is created, and the others stay as they are."""
    return tuple(
        step if step.action in (Action.KEEP, Action.REMOVE) else Step(slot=step.slot, action=Action.HOLD, reason=why)
        for step in steps
        if step.action is not Action.CREATE
    )


def _updates(kept: Sequence[Replica], revision: str, *, all_there: bool) -> Iterable[Step]:
    """Yield the steps that bring `kept` to `revision`, at most one of which takes a ready replica away."""
    may_disturb = all_there and all(replica.ready for replica in kept)
    for replica in kept:
        action = _update_action(replica, revision)
        if action is Action.KEEP:
            yield Step(slot=replica.slot, action=action, reason="as it should be")
        elif not replica.ready:
            yield Step(slot=replica.slot, action=action, reason=f"not ready, and not of revision {revision}")
        elif may_disturb:
            may_disturb = False
            yield Step(slot=replica.slot, action=action, reason=f"not of revision {revision}, all others are ready")
        else:
            yield Step(slot=replica.slot, action=Action.HOLD, reason="waits until the other replicas are ready")


def _update_action(replica: Replica, revision: str) -> Action:
    """Return what the replica needs to be of `revision`, whether or not it is its turn."""
    if replica.workload and _revision(replica.workload.object) != revision:
        return Action.UPDATE
    pod = replica.pod
    if pod and not pod.metadata.deletion_timestamp and _revision(pod) != revision:
        return Action.REPLACE_POD
    return Action.KEEP


def _remove(replica: Replica, desired: int) -> Step:
    state = "ready" if replica.ready else f"not ready ({replica.judgement.message})"
    return Step(slot=replica.slot, action=Action.REMOVE, reason=f"{_asked(desired)}, and it is {state}")


def _asked(desired: int) -> str:
    return "1 replica is asked for" if desired == 1 else f"{desired} replicas are asked for"


def _victim_order(replica: Replica, revision: str) -> tuple[bool, bool, int]:
    """Return the order of removal: the first goes first."""
    workload = replica.workload
    current = workload is not None and _revision(workload.object) == revision
    return replica.ready, current, -replica.slot


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
