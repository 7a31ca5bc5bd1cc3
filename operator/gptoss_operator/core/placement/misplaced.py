"""Replicas whose place the spec does not ask for any more: they are replaced one at a time."""

from typing import Final

from gptoss_operator.core.placement.draft import Draft
from gptoss_operator.core.placement.places import Stage
from gptoss_operator.core.placement.victims import victim_order


UNLIMITED: Final = 1_000_000
NOTHING_TO_LOSE: Final = (Stage.PENDING, Stage.FAILING)


def creates_left(draft: Draft) -> int:
    """Return how many replicas may be created while others are in the wrong place.

    As many as are missing beside those, and one more if no other is under way: their successor.
    """
    if not draft.misplaced:
        return UNLIMITED
    there = [*draft.on_demand, *draft.spot]
    serving = sum(replica.stage not in NOTHING_TO_LOSE for replica in draft.misplaced)
    under_way = any(replica.stage in (Stage.PENDING, Stage.STARTING) for replica in there)
    return max(0, draft.target - len(there) - serving) + (0 if under_way else 1)


def replace_misplaced(draft: Draft) -> None:
    """Remove those that have nothing to lose, and of the others as many as have a ready successor."""
    for replica in [r for r in draft.misplaced if r.stage in NOTHING_TO_LOSE]:
        draft.remove(replica, "another place is asked for, and it is not ready")
    ready = sum(replica.stage is Stage.READY for replica in (*draft.on_demand, *draft.spot))
    for replica in sorted(draft.misplaced, key=lambda r: victim_order(r, draft.market)):
        if ready + len(draft.misplaced) <= draft.target:
            break
        draft.remove(replica, "another place is asked for, and its successor is ready")
