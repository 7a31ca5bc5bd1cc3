"""Whether a rollout that somebody watches has ended, and how."""

from dataclasses import dataclass

from gptoss_operator.api.status import ConditionType
from gptoss_operator.api.status_rollout import RolloutPhase
from gptoss_operator.cli.rollout_seen import Seen, State, state_of
from gptoss_operator.cli.rollout_text import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a rollout has ended."""

    is_complete: bool
    """What the spec asks for serves."""
    message: str


def end_of(seen: Seen) -> End | None:
    """Return how it ended; None while it goes on, or has yet to begin."""
    state = state_of(seen)
    if state is State.SERVING:
        # Where no replica is wanted, there is none that serves.
        revision = seen.status.revision
        none_wanted = f"no replica is wanted, the next one starts with revision {revision}"
        serves = none_wanted if seen.status.desired_replicas == 0 else f"revision {revision} serves"
        return End(is_complete=True, message=f"{seen.name}: complete: {serves}")
    failure = _failure(seen, state)
    return End(is_complete=False, message=f"{seen.name}: {plain(failure)}") if failure else None


def _failure(seen: Seen, state: State) -> str:
    """Return why what the spec asks for does not come to serve. Empty: it may still."""
    why, rollout, refused = seen.condition(ConditionType.ACCEPTED), seen.status.rollout, seen.status.refused_revision
    if state is State.NOT_ACCEPTED and why:
        return f"the spec is not accepted, what runs goes on: {why.reason}: {why.message}"
    if state is State.ROLLOUT and rollout and rollout.phase is RolloutPhase.FAILED:
        return f"failed: revision {rollout.revision}: {rollout.reason}"
    if state is State.REFUSED and refused:
        return f"rolled back: revision {refused.revision}: {refused.reason}: {refused.message}"
    return "spec.mode is DryRun: nothing is replaced" if state is State.DRY_RUN else ""
