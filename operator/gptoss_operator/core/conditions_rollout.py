"""What a rollout, or a revision that has failed, makes of the conditions."""

from dataclasses import replace
from typing import Final

from gptoss_operator.api.status import ConditionType, Reason
from gptoss_operator.api.status_rollout import RefusedRevision, RolloutPhase, RolloutStatus
from gptoss_operator.core.conditions import Finding, RolloutView
from gptoss_operator.core.rollout.situation import Wait


REASONS: Final = {
    RolloutPhase.PAUSED: Reason.ROLLOUT_PAUSED,
    RolloutPhase.FAILED: Reason.ROLLOUT_FAILED,
    RolloutPhase.WAITING: Reason.ROLLOUT_WAITING,
}
RESTING: Final = (RolloutPhase.PAUSED, RolloutPhase.FAILED)
"""Phases of a rollout in which nothing is on its way."""


def rollout_view(rollout: RolloutStatus | None, refused: RefusedRevision | None, wait: Wait) -> RolloutView:
    """Return what is found of revisions."""
    degraded = _refused(rollout, refused)
    if rollout is None:
        stays = replace(degraded, type=ConditionType.PROGRESSING, holds=False) if degraded else None
        return RolloutView(progressing=stays, degraded=degraded)
    message = f"revision {rollout.revision}, step {rollout.step} of {rollout.steps}: {rollout.reason}"
    rests = rollout.phase in RESTING or wait is Wait.WINDOW
    reason = REASONS.get(rollout.phase, Reason.ROLLOUT_PROGRESSING)
    progressing = Finding(type=ConditionType.PROGRESSING, holds=not rests, reason=reason, message=message)
    return RolloutView(progressing=progressing, degraded=degraded)


def _refused(rollout: RolloutStatus | None, refused: RefusedRevision | None) -> Finding | None:
    """Return that the revision that the spec asks for has failed."""
    if refused is None:
        return None
    goes_back = rollout is None or rollout.phase is not RolloutPhase.FAILED
    reason = Reason.ROLLED_BACK if goes_back else Reason.ROLLOUT_FAILED
    remedy = "change the spec, or spec.rollout.trigger to try it again"
    message = f"revision {refused.revision} has failed: {refused.message}; {remedy}"
    return Finding(type=ConditionType.DEGRADED, holds=True, reason=reason, message=message)
