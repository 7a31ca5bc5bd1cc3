"""What a rollout does next: which replicas of the goal's revision are made, which are let in, and which leave.

Everything follows from the replicas that are seen, so it may be called after any interruption:

- A new replica is made closed, in a slot of its own. It says which old one it *replaces*; while both exist, it is none
  of the replicas that scaling and placement count.
- It is let in when it has passed its gates. The first one of a revision is the canary: it gets a share of the requests
  for a while, and nothing else is replaced until then. So no more than one replica is ever on a bad revision.
- A wave is over when all new replicas serve. Then their predecessors leave, and when these are gone, the next begins.
- Where there is no room, old replicas leave first, and the placement makes new ones for them.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from gptoss_operator.api.rollout import Strategy
from gptoss_operator.core.placement.decision import Remove
from gptoss_operator.core.rollout.gates import passed_all
from gptoss_operator.core.rollout.members import Machine, Member, Trouble
from gptoss_operator.core.rollout.policy import RolloutPolicy
from gptoss_operator.core.rollout.shares import is_canary, shares_of
from gptoss_operator.core.rollout.situation import Failure, Hold, RolloutStep, Situation, Successor, Wait


SHORT_SECONDS: Final = 10.0
"""How long the scheduler may find no GPU, where nothing adds nodes, until that is believed."""


def next_step(policy: RolloutPolicy, s: Situation, now: float) -> RolloutStep:
    """Return what is done next.

    Replicas that serve do not fall below `s.least` less those that may be missing by the pace of now, unless machines
    are lost. Never more than one replica is of a goal that is not proven.
    """
    if (failure := _failure(s)) is not None:
        return RolloutStep(reason=failure.trouble.message, failure=failure)
    of_goal = _of_goal(s)
    step = RolloutStep(
        reason="all replicas are of the revision",
        retires=_strays(s),
        shares=shares_of(policy.canary, s),
        of_goal=of_goal,
        put_off=min(of_goal, s.leaving) if s.pace.strategy is Strategy.REPLACE else 0,
    )
    unsettled = [m for m in s.new if not _is_settled(policy, m, now) and not _waits_for_others(s, m)]
    if not s.old and not s.creates and not unsettled:
        missing = max(policy.unavailable, s.pace.unavailable)
        enough = sum(m.serving for m in s.new) >= max(1, s.least - missing)
        return replace(step, complete=enough, wait=Wait.NOTHING if enough else Wait.PLACEMENT)
    hold = _hold(s)
    # The deadline of what has begun goes on when a window closes, or short ones would have it begin again and again.
    if hold is not None and not (hold.wait is Wait.WINDOW and unsettled):
        return replace(step, wait=hold.wait, reason=hold.reason)
    rest = _without(s, step.retires)
    if unsettled:
        return _waiting(policy, rest, step, unsettled, now)
    return _forward(policy, rest, step, now)


def _hold(s: Situation) -> Hold | None:
    """Return why nothing is to be replaced, although replicas may serve."""
    # A canary is watched to its end when a window closes: no deadline runs over it, as long as it serves.
    rests = s.hold is not None and s.hold.wait is not Wait.WINDOW
    serves = any(is_canary(m) and m.serving for m in s.new)
    if not rests and serves and s.canary is not None and not s.canary.passed:
        return Hold(wait=Wait.CANARY, reason=f"the canary {s.canary.message}")
    return s.hold


def _failure(s: Situation) -> Failure | None:
    """Return what shows that the goal is bad. One that need show nothing is not."""
    if s.trusted:
        return None
    for member in s.new:
        if member.trouble:
            return Failure(slot=member.slot, trouble=member.trouble)
        if s.canary is not None and s.canary.failed and not member.is_open:
            gate = s.canary
            trouble = Trouble(reason=gate.reason, message=gate.message, gate=gate.name)
            return Failure(slot=member.slot, trouble=trouble)
    return None


def _strays(s: Situation) -> tuple[Remove, ...]:
    """Return the replicas that have never served and are not wanted any more, and new ones whose machine goes."""
    serving = {m.slot for m in s.new if m.serving}
    # Of one that has proven itself before, whom nothing has left for yet need not be replaced: it is one too many.
    surplus = [m for m in s.old if s.trusted and m.replaces in serving]
    unwanted = [m for m in s.old if (_never_served(m) and m.revision != s.keep) or m in surplus]
    unlucky = [m for m in s.new if m.fated and m.replaces is not None]
    return (
        *(Remove(slot=m.slot, reason=f"its revision {m.revision} is not wanted any more") for m in unwanted),
        *(Remove(slot=m.slot, reason="its machine goes, and it has replaced none yet") for m in unlucky),
    )


def _never_served(member: Member) -> bool:
    """Return whether it was not let in, or starts beside the one that is to leave for it."""
    return not member.is_open or (member.replaces is not None and not member.serving)


def _without(s: Situation, retired: Sequence[Remove]) -> Situation:
    """Return what is left when some are retired: nobody else may leave because these still serve."""
    gone = {remove.slot for remove in retired}
    return replace(s, members=tuple(m for m in s.members if m.slot not in gone))


def _of_goal(s: Situation) -> int:
    """Return how many of the placement's new replicas are of the goal: one at most, while it is not proven."""
    if s.proven or not s.can_keep:
        return s.creates
    # It makes up for one that has left first, or there is nothing that could serve.
    makes_up = s.pace.strategy is Strategy.REPLACE or not s.old
    return min(1, s.creates) if not s.new and s.hold is None and makes_up else 0


def _is_settled(policy: RolloutPolicy, member: Member, now: float) -> bool:
    """Return whether a new replica has served with its full share for long enough."""
    return member.is_open and member.serving and now - member.since >= policy.min_ready_seconds


def _waits_for_others(s: Situation, member: Member) -> bool:
    """Return whether a new replica has done what it can.

    The placement seeks a machine for it, or, with BlueGreen, it is let in when all could serve.
    """
    could = s.proven and not member.is_open and passed_all(member.gates)
    return (could and s.pace.strategy is Strategy.BLUE_GREEN) or member.is_homeless


def _waiting(
    policy: RolloutPolicy, s: Situation, step: RolloutStep, unsettled: Sequence[Member], now: float
) -> RolloutStep:
    """Return `step` while new replicas do not serve. With Auto, an old one leaves for one that gets no machine."""
    swaps = policy.strategy is Strategy.AUTO and s.hold is None
    stuck = {m.replaces: m for m in unsettled if swaps and _is_stuck(policy, s, m, now)}
    missing = max(1, policy.unavailable)
    leave = _spared([m for m in s.old if m.slot in stuck], s, missing, policy, now)
    retires = tuple(Remove(slot=m.slot, reason=_no_machine(s, stuck[m.slot])) for m in leave)
    if retires:
        return replace(step, retires=(*step.retires, *retires), reason=retires[0].reason)
    return replace(step, reason=f"{len(unsettled)} of {len(s.new)} replicas of revision {s.goal} do not serve yet")


def _is_stuck(policy: RolloutPolicy, s: Situation, member: Member, now: float) -> bool:
    waited = now - member.since
    is_short = member.machine is Machine.SHORT and not s.grows and waited >= SHORT_SECONDS
    return member.waits and (is_short or waited >= policy.surge_wait_seconds)


def _no_machine(s: Situation, member: Member) -> str:
    why = "no node has GPUs for" if member.machine is Machine.SHORT and not s.grows else "no machine came for"
    return f"{why} its successor of revision {s.goal}, so it leaves first (strategy Auto: Replace)"


def _forward(policy: RolloutPolicy, s: Situation, step: RolloutStep, now: float) -> RolloutStep:
    """Return `step` when all new replicas serve: predecessors leave, are waited for, and the next wave begins."""
    if retired := _predecessors(policy, s, now):
        return replace(step, retires=(*step.retires, *retired), reason=retired[0].reason)
    if s.leaving:
        return replace(step, wait=Wait.LEAVING, reason="waits until replicas that leave have finished their requests")
    if s.creates or (s.moving and not s.proven):
        return replace(step, wait=Wait.PLACEMENT, reason="waits until replicas have been placed")
    if s.new and not s.proven:
        return replace(step, reason="the first replica has no machine")
    return _wave(policy, s, step, now)


def _predecessors(policy: RolloutPolicy, s: Situation, now: float) -> tuple[Remove, ...]:
    """Return the old replicas whose successors serve. With BlueGreen they have been closed before, all at once."""
    replaced = {m.replaces for m in s.new}
    closes_first = s.pace.strategy is Strategy.BLUE_GREEN and not s.trusted and s.hears
    ripe = [m for m in s.old if m.slot in replaced and not (closes_first and m.is_open)]
    leave = _spared(ripe, s, policy.unavailable, policy, now)
    return tuple(Remove(slot=m.slot, reason=f"its successor of revision {s.goal} serves") for m in leave)


def _wave(policy: RolloutPolicy, s: Situation, step: RolloutStep, now: float) -> RolloutStep:
    """Return `step` with the beginning of the next wave."""
    replaced = {m.replaces for m in s.new}
    old = [m for m in s.old if m.slot not in replaced and (s.proven or not m.fated)]
    size = s.pace.wave if s.proven else 1
    if s.trusted:
        # What does not serve has nothing to lose.
        size = max(size, sum(not m.serving for m in old))
    victims = sorted(old, key=_least_loss)[: max(0, size)]
    idle = [m for m in victims if s.proven and (m.failing or m.fated or (s.trusted and not m.serving))]
    others = [m for m in victims if m not in idle]
    beside, first = others[: s.pace.surge], others[s.pace.surge :]
    first = _spared(first, s, s.pace.unavailable, policy, now)
    words = f"of revision {s.goal}, beside one that leaves for it; {s.pace.reason}"
    successors = tuple(Successor(place=m.place, replaces=m.slot, reason=words) for m in beside)
    retires = (
        *(Remove(slot=m.slot, reason=f"not of revision {s.goal}, and does not serve") for m in idle),
        *(Remove(slot=m.slot, reason=f"leaves for one of revision {s.goal}; {s.pace.reason}") for m in first),
    )
    if not successors and not retires:
        reason = _why_not(s) if old else "all that is left of others leaves"
        return replace(step, wait=Wait.PLACEMENT if first != others else step.wait, reason=reason)
    return replace(step, successors=successors, retires=(*step.retires, *retires), reason=s.pace.reason)


def _why_not(s: Situation) -> str:
    homeless = len(s.new) - len(s.housed)
    return f"waits until more replicas serve{f': {homeless} of revision {s.goal} have no machine' if homeless else ''}"


def _spared(
    candidates: Sequence[Member], s: Situation, missing: int, policy: RolloutPolicy, now: float
) -> list[Member]:
    """Return those of `candidates` that may go now, so that no more than `missing` of the wanted replicas are missing.

    What does not serve may always go. What has had no machine for long is not waited for.
    """
    serving = sum(m.serving for m in s.old) + sum(_is_settled(policy, m, now) for m in s.new)
    # Not those of the goal: they have no machine since others have left for them.
    in_vain = sum(m.waits and m.replaces is None and now - m.since >= policy.surge_wait_seconds for m in s.old)
    budget = max(0, serving - max(0, s.least - missing - in_vain))
    idle = [m for m in candidates if not m.serving]
    return [*idle, *sorted((m for m in candidates if m.serving), key=_least_loss)[:budget]]


def _least_loss(member: Member) -> tuple[bool, bool, bool, float, int]:
    """Return the order in which replicas leave: what serves nobody first, then what has the fewest requests."""
    in_flight = math.inf if member.in_flight is None else member.in_flight
    return (member.serving, not member.failing, not member.waits, in_flight, -member.slot)
