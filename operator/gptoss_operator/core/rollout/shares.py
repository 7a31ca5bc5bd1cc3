"""Which replicas are let in: who gets no requests, a canary's share, or a full one."""

from collections.abc import Mapping

from gptoss_operator.api.rollout import CanarySpec, Strategy
from gptoss_operator.core.rollout.gates import passed_all
from gptoss_operator.core.rollout.members import Member
from gptoss_operator.core.rollout.situation import Situation
from gptoss_runtime.contract import CLOSED_SHARE, OPEN_SHARE


def share_at_first(s: Situation) -> int:
    """Return the share that a replica of the goal is made with."""
    return OPEN_SHARE if s.trusted or not s.hears else CLOSED_SHARE


def shares_of(canary: CanarySpec, s: Situation) -> Mapping[int, int]:
    """Return the share of each replica that is to have another than now, by slot.

    Old replicas have theirs in full, until with BlueGreen all new ones serve. Of a revision that is neither the goal
    nor the one that serves, none is let in.
    """
    switched = _is_switched(s)
    wished = {m.slot: CLOSED_SHARE if switched else OPEN_SHARE for m in s.old if switched or m.revision == s.keep}
    wished |= {m.slot: _share(canary, s, m) for m in s.new}
    now = {m.slot: m.share for m in s.members}
    return {slot: share for slot, share in sorted(wished.items()) if share != now[slot]}


def is_canary(member: Member) -> bool:
    """Return whether it has a part of a share."""
    return CLOSED_SHARE < member.share < OPEN_SHARE


def _share(canary: CanarySpec, s: Situation, member: Member) -> int:
    if member.is_open or share_at_first(s) == OPEN_SHARE:
        return OPEN_SHARE
    if not passed_all(member.gates):
        return member.share
    if s.proven:
        return OPEN_SHARE if s.pace.strategy is not Strategy.BLUE_GREEN or _all_passed(s) else CLOSED_SHARE
    # Where no other serves, it gets all requests with any share, and is watched all the same.
    watched = canary.hold_seconds == 0 or (s.canary is not None and s.canary.passed)
    return OPEN_SHARE if watched else canary.traffic_percent


def _all_passed(s: Situation) -> bool:
    """Return whether as many new replicas as are wanted could serve."""
    return len(s.new) >= s.wanted and all(m.is_open or passed_all(m.gates) for m in s.housed)


def _is_switched(s: Situation) -> bool:
    """Return whether the old replicas get no more requests, since all new ones serve."""
    blue_green = s.pace.strategy is Strategy.BLUE_GREEN and not s.trusted and s.hears
    return blue_green and len(s.new) >= s.wanted and all(m.is_open and m.serving for m in s.housed)
