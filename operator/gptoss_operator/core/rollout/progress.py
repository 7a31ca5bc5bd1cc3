"""How far a rollout is, for the status: what is waited for, since when nothing got on, and how long it will take."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gptoss_operator.api.names import replica
from gptoss_operator.api.rollout import Strategy
from gptoss_operator.api.status_rollout import REASON_LENGTH, GateResult, GateStatus, RolloutPhase, RolloutStatus
from gptoss_operator.core.dates import FORMAT, seconds_of
from gptoss_operator.core.rollout.gates import Gate, passed_all
from gptoss_operator.core.rollout.members import Member
from gptoss_operator.core.rollout.policy import RolloutPolicy
from gptoss_operator.core.rollout.situation import RolloutStep, Situation, Wait
from gptoss_operator.core.rollout.waves import sizes_of
from gptoss_operator.core.scaling.supply import ColdStart


MESSAGE_LENGTH: Final = 512
GATES_SHOWN: Final = 64
PER_MEMBER: Final = 1000
"""More than the ranks of all replicas together."""
PHASES: Final = {
    Wait.NOTHING: RolloutPhase.PROGRESSING,
    Wait.PLACEMENT: RolloutPhase.WAITING,
    Wait.PAUSE: RolloutPhase.PAUSED,
    Wait.WINDOW: RolloutPhase.WAITING,
    Wait.WEIGHTS: RolloutPhase.WAITING,
    Wait.CANARY: RolloutPhase.WAITING,
    Wait.LEAVING: RolloutPhase.WAITING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What the status tells of a rollout is made of this."""

    deployment: str
    goal: str
    keep: str
    goes_back: bool
    failed: str = ""
    """Why it has failed and goes nowhere. Empty: it has not."""


def is_rolling(before: RolloutStatus | None, others: Collection[str]) -> bool:
    """Return whether replicas of other revisions are on their way out, so that none should be removed for the load."""
    return bool(others) and (before is None or before.phase in (RolloutPhase.PROGRESSING, RolloutPhase.ROLLING_BACK))


def progress_of(members: Sequence[Member]) -> int:
    """Return how far the replicas of the goal are. It grows with each that is there, and with what each has reached."""
    return PER_MEMBER * len(members) + sum(_rank(member) for member in members)


def status_of(
    story: Story,
    policy: RolloutPolicy,
    s: Situation,
    step: RolloutStep,
    *,
    before: RolloutStatus | None,
    cold_start: ColdStart,
    now: datetime,
) -> RolloutStatus:
    """Return what the status tells. It changes with the rollout, not with every second."""
    same = before is not None and (before.revision, before.phase is RolloutPhase.ROLLING_BACK) == (
        story.goal,
        story.goes_back,
    )
    was = before if same else None
    phase = _phase(story, step)
    moment = f"{now:{FORMAT}}"
    progress = progress_of(s.new)
    resting = _is_resting(s) or was is None
    strategy = s.pace.strategy if resting or was is None else Strategy(was.strategy)
    sizes = sizes_of(s.wanted, s.pace.wave, s.pace.wave if s.trusted else 1)
    got_on = was is None or _has_got_on(was, phase, progress)
    eta = _eta(policy, s, sizes, cold_start) if got_on or was is None else was.eta_seconds
    return RolloutStatus(
        revision=story.goal,
        from_revision=(was.from_revision if was else _from(s, story)) or None,
        phase=phase,
        strategy=strategy,
        reason=(story.failed or step.reason)[:REASON_LENGTH],
        step=_step(sizes, len(s.new)),
        steps=len(sizes),
        updated=sum(m.is_open and m.serving for m in s.new),
        started_at=was.started_at if was else moment,
        progressed_at=moment if got_on or was is None else was.progressed_at,
        progress=progress if got_on or was is None else was.progress,
        eta_seconds=eta,
        gates=_gates(story.deployment, s, was) or None,
    )


def overdue(
    policy: RolloutPolicy, before: RolloutStatus | None, goal: str, new: Sequence[Member], now: datetime
) -> bool:
    """Return whether nothing has got on for longer than the deadline, neither by the last status nor by what is seen.

    What is seen counts, since the status may be from before a long time without an operator.
    """
    if before is None or before.revision != goal or before.phase is not RolloutPhase.PROGRESSING:
        return False
    if _has_moved(before, progress_of(new)):
        return False
    since = seconds_of(before.progressed_at)
    return since is not None and now.timestamp() - since >= policy.deadline_seconds


def _phase(story: Story, step: RolloutStep) -> RolloutPhase:
    if story.failed:
        return RolloutPhase.FAILED
    return RolloutPhase.ROLLING_BACK if story.goes_back else PHASES[step.wait]


def _has_got_on(was: RolloutStatus, phase: RolloutPhase, progress: int) -> bool:
    """Return whether something has got on. A wait stops the clock."""
    waited = was.phase is not RolloutPhase.PROGRESSING and phase is RolloutPhase.PROGRESSING
    return waited or _has_moved(was, progress)


def _has_moved(was: RolloutStatus, progress: int) -> bool:
    """Return whether replicas have got further, or one was lost, which is nobody's fault."""
    return progress > was.progress or progress // PER_MEMBER < was.progress // PER_MEMBER


def _is_resting(s: Situation) -> bool:
    """Return whether no wave is under way, so that the pace of now is the one of the next."""
    return all(m.is_open and m.serving for m in s.new)


def _rank(member: Member) -> int:
    reached = (not member.waits, member.up, passed_all(member.gates), member.share > 0, member.is_open)
    return sum(reached)


def _step(sizes: Sequence[int], there: int) -> int:
    """Return at which step a rollout is that has so many new replicas."""
    return next((number for number, size in enumerate(sizes, 1) if size >= there), len(sizes))


def _eta(policy: RolloutPolicy, s: Situation, sizes: Sequence[int], cold_start: ColdStart) -> int | None:
    """Return how many seconds it takes, if each wave takes a usual cold start. None: none was seen."""
    if not cold_start.starts:
        return None
    served = sum(m.is_open and m.serving for m in s.new)
    left = sum(size > served for size in sizes)
    hold = 0.0 if s.proven or s.trusted else float(policy.canary.hold_seconds)
    return math.ceil(left * (cold_start.p50_seconds + policy.min_ready_seconds) + hold)


def _from(s: Situation, story: Story) -> str:
    old = [m.revision for m in s.old]
    return max(sorted(set(old)), key=old.count, default="") if story.goes_back else story.keep


def _gates(deployment: str, s: Situation, was: RolloutStatus | None) -> tuple[GateStatus, ...]:
    """Return what new replicas have shown that have not their full share yet, as it was when it was decided."""
    known = {(gate.replica, gate.gate, gate.result): gate for gate in (was.gates if was else None) or ()}
    shown = (
        GateStatus(
            replica=replica(deployment, member.slot),
            gate=gate.name,
            result=gate.result,
            message=gate.message[:MESSAGE_LENGTH],
        )
        for member in s.new
        if not member.is_open
        for gate in (*member.gates, *_canary(s, member))
    )
    kept = (known.get((g.replica, g.gate, g.result), g) if g.result is not GateResult.PENDING else g for g in shown)
    return tuple(gate for gate, _ in zip(kept, range(GATES_SHOWN), strict=False))


def _canary(s: Situation, member: Member) -> tuple[Gate, ...]:
    return (s.canary,) if s.canary is not None and member.share > 0 else ()
