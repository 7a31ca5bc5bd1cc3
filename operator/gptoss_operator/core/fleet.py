"""Which replicas there are, and what is done with each slot now.

Progress is derived from what is seen alone, so it may be called after any interruption.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from gptoss_operator.api.names import LABEL_REVISION, LABEL_SLOT
from gptoss_operator.api.status import Reason
from gptoss_operator.core.health import Judgement, PodState, judge
from gptoss_operator.core.objects import Child, Pod
from gptoss_operator.core.observation import Observation, ObservedChild
from gptoss_operator.core.placement.decision import Remove
from gptoss_operator.core.placement.places import ANYWHERE, Place
from gptoss_operator.core.render.machine import place_of
from gptoss_runtime.contract import OPEN_SHARE, canary_share


POD_EXPECTED_WITHIN = timedelta(seconds=10)
"""How long the StatefulSet controller may take to create a pod before its absence is a problem."""
AS_IT_SHOULD_BE: Final = "as it should be"


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
    def uid(self) -> str:
        """Of its StatefulSet. Empty: it has none."""
        return self.workload.object.metadata.uid if self.workload else ""

    @property
    def revision(self) -> str:
        """What it was made from."""
        return self.workload.object.metadata.labels.get(LABEL_REVISION, "") if self.workload else ""

    @property
    def replaces(self) -> str:
        """The `uid` of the replica that leaves for it. Empty: none does."""
        return self.workload.object.metadata.annotations.replaces if self.workload else ""

    @property
    def share(self) -> int:
        """Requests that it is granted, in percent of a full share."""
        share = canary_share(self.workload.object.metadata.annotations.traffic) if self.workload else None
        return OPEN_SHARE if share is None else share

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
    HOLD = "hold"
    """It stays as it is, though its StatefulSet cannot be made again: nothing has its revision's pod template."""
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReplica:
    """A replica that is to be made."""

    place: Place
    revision: str
    reason: str
    share: int = OPEN_SHARE
    replaces: str = ""
    """The `uid` of the replica that leaves for it. Empty: none does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one slot does next, and why."""

    slot: int
    action: Action
    reason: str
    revision: str = ""
    place: Place = ANYWHERE
    """What is asked of its machine."""
    share: int = OPEN_SHARE
    replaces: str = ""


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


def replaced_by(replicas: Sequence[Replica]) -> Mapping[int, int]:
    """Return the slot of the replica that leaves for each one, by the slot of its successor, while both exist."""
    slots = {r.uid: r.slot for r in replicas if r.exists}
    return {r.slot: slots[r.replaces] for r in replicas if r.exists and r.replaces in slots}


def decide_fleet(
    creates: Sequence[NewReplica],
    removes: Sequence[Remove],
    replicas: Sequence[Replica],
    shares: Mapping[int, int],
) -> tuple[Step, ...]:
    """Return the next step of every slot that is or should be taken. `shares` are those that change, by slot."""
    why = {remove.slot: remove.reason for remove in removes}
    # A new pod would wait for one that still leaves under the same name, so slots in use are passed over.
    slots = _free_slots(len(creates), taken={replica.slot for replica in replicas})
    return tuple(
        sorted(
            (
                *(_step(r, why, shares) for r in replicas if r.exists),
                *(
                    Step(
                        slot=slot,
                        action=Action.CREATE,
                        reason=create.reason,
                        revision=create.revision,
                        place=create.place,
                        share=create.share,
                        replaces=create.replaces,
                    )
                    for slot, create in zip(slots, creates, strict=True)
                ),
            ),
            key=lambda step: step.slot,
        )
    )


def held(steps: Iterable[Step], templates: Iterable[str]) -> tuple[Step, ...]:
    """Return `steps` without those that would make a replica of a revision of which there is no template."""
    known = set(templates)
    return tuple(
        step if step.revision in known or step.action is Action.REMOVE else replace(step, action=Action.HOLD)
        for step in steps
        if step.revision in known or step.action is not Action.CREATE
    )


def _step(replica: Replica, why: Mapping[int, str], shares: Mapping[int, int]) -> Step:
    slot = replica.slot
    return Step(
        slot=slot,
        action=Action.REMOVE if slot in why else Action.KEEP,
        reason=why.get(slot) or (f"it gets {shares[slot]} % of a share" if slot in shares else AS_IT_SHOULD_BE),
        revision=replica.revision,
        place=replica.place,
        share=shares.get(slot, replica.share),
        replaces=replica.replaces,
    )


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
