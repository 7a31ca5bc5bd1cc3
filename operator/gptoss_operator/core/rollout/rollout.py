"""A rollout as a part of one pass: from what is seen to the replicas that are made and removed, and the status."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from gptoss_operator.api.names import LABEL_REVISION, replica
from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.api.status import GptOssStatus, Reason
from gptoss_operator.api.status_rollout import REASON_LENGTH, RefusedRevision, RolloutStatus
from gptoss_operator.core.dates import FORMAT
from gptoss_operator.core.decide import Decided
from gptoss_operator.core.fleet import NewReplica, Replica
from gptoss_operator.core.health import is_node_gone, not_ready
from gptoss_operator.core.objects import Pod
from gptoss_operator.core.observation import Observation
from gptoss_operator.core.placement.decision import Remove
from gptoss_operator.core.policies import windows_of
from gptoss_operator.core.rollout.canary import CanaryMemory, canary_gate, watch_canary
from gptoss_operator.core.rollout.gates import Gate
from gptoss_operator.core.rollout.members import Member, Trouble, members_of
from gptoss_operator.core.rollout.policy import RolloutPolicy, policy_of
from gptoss_operator.core.rollout.progress import Story, overdue, status_of
from gptoss_operator.core.rollout.revisions import Revisions
from gptoss_operator.core.rollout.room import room_of
from gptoss_operator.core.rollout.shares import is_canary, share_at_first
from gptoss_operator.core.rollout.situation import Failure, Hold, RolloutStep, Situation, Wait
from gptoss_operator.core.rollout.step import next_step
from gptoss_operator.core.rollout.waves import choose_pace
from gptoss_operator.core.starts import cold_start
from gptoss_operator.core.weights import Stage, Weights


LEAVES_WITHIN: Final = timedelta(seconds=60)
"""How long after its grace period a pod may still hold its GPUs. After that its machine is not to be relied on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """What became of it in this pass."""

    revisions: Revisions
    creates: tuple[NewReplica, ...]
    removes: tuple[Remove, ...]
    shares: Mapping[int, int]
    status: RolloutStatus | None
    """None: there is nothing to roll out."""
    keep: str
    """The revision that has come to serve as a whole. Empty: none has yet."""
    memory: CanaryMemory
    wait: Wait = Wait.NOTHING
    refused_now: bool = False
    """Whether a revision was refused in this pass. What follows from it is done in the next."""

    @property
    def is_unsettled(self) -> bool:
        """Whether replicas are, or may come to be, of another revision than the one that the spec asks for."""
        return self.status is not None or self.revisions.refused is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What all steps of this pass are decided from."""

    spec: GptOssSpec
    seen: Observation
    replicas: Sequence[Replica]
    decided: Decided
    weights: Weights
    before: GptOssStatus
    gpus: int
    canary: CanaryMemory
    now: datetime


def decide_rollout(scene: Scene, revisions: Revisions) -> Rollout:
    """Return what is done. A revision that fails is refused, and the way back begins in the next pass."""
    if revisions.refused is not None and _is_mended(revisions.refused, scene.weights):
        revisions = replace(revisions, refused=None, goal=revisions.wanted)
    spec, removes = scene.spec, scene.decided.placement.removes
    policy = policy_of(spec.rollout, scene.decided.target, windows_of(spec))
    members = members_of(scene.replicas, scene.decided.fates, scene.seen, [remove.slot for remove in removes])
    canary = next((m for m in members if m.revision == revisions.goal and is_canary(m)), None)
    memory = _watched(scene, revisions, members, canary)
    frozen = revisions.refused is not None and not revisions.goes_back
    gate = None if frozen else _canary(policy, canary, memory, scene.now)
    situation, step = _decided(scene, revisions, members, policy, gate)
    failure = step.failure or _late(scene, revisions, situation, policy, step)
    if failure is not None:
        go_back = policy.auto_rollback and revisions.can_go_back
        revisions = revisions.refuse(_refused(scene, revisions, failure), go_back=go_back)
        situation, step = _decided(scene, revisions, members, policy, None)
        # Written down before anything is done for it: a process that dies in between must not try it once more.
        step = RolloutStep(reason=step.reason, of_goal=step.of_goal)
    return Rollout(
        revisions=revisions,
        creates=_creates(scene, revisions, situation, step),
        removes=(*scene.decided.placement.removes, *step.retires),
        shares=step.shares,
        status=_told(scene, revisions, situation, step, policy),
        keep=revisions.goal if step.complete else revisions.keep,
        memory=memory,
        wait=step.wait,
        refused_now=failure is not None,
    )


def _is_mended(refused: RefusedRevision, weights: Weights) -> bool:
    """Return whether what failed is tried again, since somebody has deleted the Job that could not fetch."""
    return refused.reason == Reason.WEIGHTS_FETCH_FAILED and weights.stage is not Stage.FAILED


def _decided(
    scene: Scene, revisions: Revisions, members: tuple[Member, ...], policy: RolloutPolicy, canary: Gate | None
) -> tuple[Situation, RolloutStep]:
    """Return what is decided from, and what. A revision that has failed, and is not gone back from, stays as it is."""
    situation = _situation(scene, revisions, members, policy, canary)
    if revisions.refused is not None and not revisions.goes_back:
        reason = revisions.refused.message
        return situation, RolloutStep(reason=reason, of_goal=0 if situation.can_keep else situation.creates)
    return situation, next_step(policy, situation, scene.now.timestamp())


def _situation(
    scene: Scene, revisions: Revisions, members: tuple[Member, ...], policy: RolloutPolicy, canary: Gate | None
) -> Situation:
    placement, seen = scene.decided.placement, scene.seen
    replaced = sum(m.replaces is not None and m.replaces not in scene.decided.fates for m in members)
    # Those that are lost have successors, and may come back.
    counted = sum(not m.fated for m in members) - replaced
    wanted = counted + len(placement.creates)
    claimed = len(placement.creates) + sum(m.waits for m in members)
    room = room_of(scene.spec, scene.gpus, seen, claimed=claimed)
    return Situation(
        goal=revisions.goal,
        keep=revisions.keep,
        trusted=revisions.trusted,
        hears=seen.hears_replicas,
        can_keep=revisions.keep in seen.revisions,
        members=members,
        wanted=wanted,
        least=min(scene.decided.target, wanted),
        creates=len(placement.creates),
        moving=bool(placement.creates or placement.removes),
        leaving=sum(_leaves(r, revisions.goal, scene) for r in scene.replicas),
        grows=bool(room.grows),
        pace=choose_pace(policy, room, wanted),
        canary=canary,
        hold=_hold(scene, revisions, policy),
    )


def _watched(scene: Scene, revisions: Revisions, members: Sequence[Member], canary: Member | None) -> CanaryMemory:
    """Return the comparison after one more look; an empty one where nothing is compared."""
    if canary is None or not canary.uid:
        return CanaryMemory()
    others = frozenset(m.uid for m in members if m.revision == revisions.keep and m.serving)
    states = scene.seen.replica_states
    return watch_canary(scene.canary, canary.uid, states, others, scene.now.timestamp())


def _canary(policy: RolloutPolicy, canary: Member | None, memory: CanaryMemory, now: datetime) -> Gate | None:
    if canary is None:
        return None
    return canary_gate(policy.canary, memory, canary.since if canary.serving else None, now.timestamp())


def _hold(scene: Scene, revisions: Revisions, policy: RolloutPolicy) -> Hold | None:
    """Return why nothing is to be replaced now. Going back waits for nobody, whoever asks for it."""
    if revisions.trusted:
        return None
    if scene.spec.mode == "DryRun":
        return Hold(wait=Wait.PAUSE, reason="spec.mode is DryRun: nothing is changed")
    if policy.paused:
        return Hold(wait=Wait.PAUSE, reason="spec.rollout.paused is true: replicas are replaced no further")
    if names := policy.closed_until(scene.now.timestamp()):
        return Hold(wait=Wait.WINDOW, reason=f"waits for one of spec.rollout.windows: {names}")
    if scene.weights.stage is Stage.FETCHING:
        return Hold(wait=Wait.WEIGHTS, reason=scene.weights.message)
    return None


def _leaves(replica: Replica, goal: str, scene: Scene) -> bool:
    """Return whether a replica of another revision that was removed still holds its GPUs, on a machine that stays."""
    pod = replica.pod
    if replica.exists or pod is None or pod.metadata.labels.get(LABEL_REVISION) == goal:
        return False
    ends_at = pod.metadata.deletion_timestamp
    # The garbage collector takes a moment to come to a pod whose StatefulSet is gone. One that was orphaned stays.
    leaves = bool(pod.metadata.owner_references) if ends_at is None else scene.now - ends_at < LEAVES_WITHIN
    return leaves and not _is_on_dead_node(pod, scene.seen, scene.now)


def _is_on_dead_node(pod: Pod, seen: Observation, now: datetime) -> bool:
    return not_ready(seen.nodes.get(pod.spec.node_name)) is not None or is_node_gone(pod, seen.nodes, now)


def _late(scene: Scene, revisions: Revisions, s: Situation, policy: RolloutPolicy, step: RolloutStep) -> Failure | None:
    """Return that nothing has got on for too long, or that the weights cannot be had."""
    if revisions.trusted or revisions.refused is not None or step.complete:
        return None
    if scene.weights.stage is Stage.FAILED:
        trouble = Trouble(reason=Reason.WEIGHTS_FETCH_FAILED, message=scene.weights.message)
        return Failure(slot=None, trouble=trouble)
    if step.wait is not Wait.NOTHING or not overdue(policy, scene.before.rollout, revisions.goal, s.new, scene.now):
        return None
    stuck = next((m for m in s.new if not (m.is_open and m.serving) and not (m.fated and m.replaces is None)), None)
    gates = [gate.message for gate in stuck.gates if not gate.passed] if stuck and stuck.up else []
    why = next(iter(gates), stuck.words if stuck else step.reason)
    message = f"nothing got on for {policy.deadline_seconds:.0f} s (spec.rollout.progressDeadlineSeconds): {why}"
    trouble = Trouble(reason=Reason.PROGRESS_DEADLINE_EXCEEDED, message=message)
    return Failure(slot=stuck.slot if stuck else None, trouble=trouble)


def _refused(scene: Scene, revisions: Revisions, failure: Failure) -> RefusedRevision:
    name = "" if failure.slot is None else f"{replica(scene.seen.owner.name, failure.slot)}: "
    return RefusedRevision(
        revision=revisions.wanted,
        reason=failure.trouble.reason,
        gate=failure.trouble.gate,
        message=f"{name}{failure.trouble.message}"[:REASON_LENGTH],
        at=f"{scene.now:{FORMAT}}",
    )


def _told(
    scene: Scene, revisions: Revisions, s: Situation, step: RolloutStep, policy: RolloutPolicy
) -> RolloutStatus | None:
    """Return what the status tells of the rollout. None: there is nothing to roll out."""
    failed = revisions.refused.message if revisions.refused is not None and not revisions.goes_back else ""
    story = Story(
        deployment=scene.seen.owner.name,
        goal=revisions.goal,
        keep=revisions.keep,
        goes_back=revisions.goes_back,
        failed=failed,
    )
    if not (s.old or failed or (s.new and not step.complete and revisions.keep not in ("", revisions.goal))):
        return None
    starts = cold_start(scene.decided.memory.starts)
    return status_of(story, policy, s, step, before=scene.before.rollout, cold_start=starts, now=scene.now)


def _creates(scene: Scene, revisions: Revisions, s: Situation, step: RolloutStep) -> tuple[NewReplica, ...]:
    """Return the replicas that are made: those of the placement, then the successors."""
    first = share_at_first(s)
    uids = {r.slot: r.uid for r in scene.replicas}
    of_goal, others = (
        scene.decided.placement.creates[: step.of_goal],
        scene.decided.placement.creates[step.of_goal :],
    )
    now_of_goal = of_goal[: len(of_goal) - step.put_off]
    return (
        *(NewReplica(place=c.place, revision=revisions.goal, reason=c.reason, share=first) for c in now_of_goal),
        *(NewReplica(place=c.place, revision=revisions.keep, reason=c.reason) for c in others),
        *(
            NewReplica(
                place=successor.place,
                revision=revisions.goal,
                reason=successor.reason,
                share=first,
                replaces=uids[successor.replaces],
            )
            for successor in step.successors
        ),
    )
