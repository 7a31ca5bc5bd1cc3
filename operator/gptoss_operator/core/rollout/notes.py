"""What of a rollout is worth an Event."""

from collections.abc import Iterable

from gptoss_operator.api.status import GptOssStatus, Reason
from gptoss_operator.api.status_rollout import GateResult, RolloutPhase, RolloutStatus
from gptoss_operator.core.actions import Note


def notes_of_rollout(before: GptOssStatus, after: GptOssStatus) -> Iterable[Note]:
    """Yield that a rollout begins, goes on otherwise, or ends, and what new replicas have shown."""
    was, rollout = before.rollout, after.rollout
    if rollout is not None and _is_another(was, rollout) and rollout.phase is not RolloutPhase.ROLLING_BACK:
        yield _note(Reason.ROLLOUT_STARTED, "Rollout", _beginning(rollout))
    elif rollout is not None and was is not None and was.strategy != rollout.strategy:
        message = f"{rollout.strategy} instead of {was.strategy} from here on: {rollout.reason}"
        yield _note(Reason.STRATEGY_CHOSEN, "Rollout", message)
    yield from _gates(was, rollout)
    refused = after.refused_revision
    if refused is not None and (before.refused_revision is None or before.refused_revision.at != refused.at):
        if refused.gate:
            yield _note(Reason.GATE_FAILED, "Gate", f"{refused.gate}: {refused.message}", warning=True)
        back = rollout is None or rollout.phase is not RolloutPhase.FAILED
        reason = Reason.ROLLED_BACK if back else Reason.ROLLOUT_FAILED
        then = f"back to {after.current_revision}" if back else "everything stays as it is"
        message = f"revision {refused.revision} failed ({refused.reason}), {then}: {refused.message}"
        yield _note(reason, "Rollback" if back else "Rollout", message, warning=True)
    if after.current_revision and before.current_revision not in (None, after.current_revision):
        message = f"revision {after.current_revision} serves in place of {before.current_revision}"
        yield _note(Reason.ROLLOUT_COMPLETE, "Rollout", message)
    elif was is not None and rollout is None and was.phase is RolloutPhase.ROLLING_BACK:
        yield _note(Reason.ROLLOUT_COMPLETE, "Rollback", f"revision {after.current_revision} serves again as a whole")


def _is_another(was: RolloutStatus | None, rollout: RolloutStatus) -> bool:
    return was is None or was.started_at != rollout.started_at or was.revision != rollout.revision


def _beginning(rollout: RolloutStatus) -> str:
    steps = f"{rollout.steps} step{'s' if rollout.steps != 1 else ''}"
    way = f"to revision {rollout.revision} from {rollout.from_revision}"
    return f"{way}, {rollout.strategy}, {steps}: {rollout.reason}"


def _gates(was: RolloutStatus | None, rollout: RolloutStatus | None) -> Iterable[Note]:
    """Yield which gates were passed since. One that failed is told with the refusal."""
    known = {(g.replica, g.gate): g.result for g in (was.gates if was else None) or ()}
    for gate in (rollout.gates if rollout else None) or ():
        if gate.result is GateResult.PASSED and known.get((gate.replica, gate.gate)) is not GateResult.PASSED:
            yield _note(Reason.GATE_PASSED, "Gate", f"{gate.replica}: {gate.gate}: {gate.message}")


def _note(reason: Reason, action: str, message: str, *, warning: bool = False) -> Note:
    return Note(type="Warning" if warning else "Normal", reason=reason, action=action, message=message)
