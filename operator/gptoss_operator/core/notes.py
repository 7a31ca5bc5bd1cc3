"""What is worth an Event: each step that changes the fleet, and each turn for the better or the worse."""

from collections.abc import Iterable, Sequence

from gptoss_operator.api.names import replica
from gptoss_operator.api.status import Condition, ConditionType, GptOssStatus, Reason
from gptoss_operator.core.actions import Note
from gptoss_operator.core.decide import Decided
from gptoss_operator.core.fleet import Action, Step
from gptoss_operator.core.notices import words_of
from gptoss_operator.core.observation import Owner
from gptoss_operator.core.rollout.notes import notes_of_rollout
from gptoss_runtime.contract import NoticeKind


STEP_REASONS = {
    Action.CREATE: Reason.REPLICA_CREATED,
    Action.REMOVE: Reason.REPLICA_REMOVED,
}
"""Steps that users are told of."""
NAMED_AT_MOST = 20
"""Replicas of one event that it names. Why is said after them, and an event is cut at 1,024 characters."""


def notes_of(
    owner: Owner, decided: Decided, steps: Sequence[Step], before: GptOssStatus, after: GptOssStatus
) -> tuple[Note, ...]:
    """Return the events of one pass."""
    return (
        *_fetched(before, after),
        *_scaled(decided, before, after),
        *notes_of_rollout(before, after),
        *_steps(owner, decided, steps),
        *_silent(owner, decided),
        *_suspect(before, after),
        *_notices(before, after),
        *_turns(before, after),
    )


def notes_of_dry_run(decided: Decided, before: GptOssStatus, after: GptOssStatus) -> tuple[Note, ...]:
    """Return the events of a pass that changes nothing."""
    return tuple(_scaled(decided, before, after, "dry run, nothing is changed: "))


def _scaled(decided: Decided, before: GptOssStatus, after: GptOssStatus, prefix: str = "") -> Iterable[Note]:
    """Yield that the load asks for another number of replicas. What a person asks for is no news to them."""
    decision = after.last_decision
    if decided.scale is None or decision is None or decision == before.last_decision:
        return
    if decision.replicas != decision.previous:
        up = decision.replicas > decision.previous
        reason = Reason.SCALED_UP if up else Reason.SCALED_DOWN
        yield Note(type="Normal", reason=reason, action="Scale", message=f"{prefix}{decision.reason}")


def _steps(owner: Owner, decided: Decided, steps: Sequence[Step]) -> Iterable[Note]:
    """Yield what is done. Replicas that the same is done with for the same reason share an event."""
    done: dict[tuple[Action, Reason, str], list[str]] = {}
    for step in steps:
        if reason := STEP_REASONS.get(step.action):
            if step.action is Action.REMOVE and step.slot in decided.fates:
                reason = Reason.REPLACED_EARLY
            done.setdefault((step.action, reason, step.reason), []).append(replica(owner.name, step.slot))
    for (step_action, reason, why), replicas in done.items():
        action = step_action.title().replace("-", "")
        yield Note(type="Normal", reason=reason, action=action, message=f"{action} {_named(replicas)}: {why}")


def _named(replicas: Sequence[str]) -> str:
    """Return the first of some replicas by name, and how many more there are."""
    more = len(replicas) - NAMED_AT_MOST
    return ", ".join(replicas[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _silent(owner: Owner, decided: Decided) -> Iterable[Note]:
    """Yield that a replica is replaced by which nobody has said that it goes."""
    for slot in decided.silent:
        message = f"{replica(owner.name, slot)}: {decided.fates[slot].words}: another one is created beside it"
        yield Note(type="Warning", reason=Reason.REPLICA_SILENT, action="Observe", message=message)


def _suspect(before: GptOssStatus, after: GptOssStatus) -> Iterable[Note]:
    """Yield that a zone has taken a machine away, once while it is avoided for it."""
    avoided = {(zone.zone, zone.pool) for zone in before.zones or () if zone.suspect_until}
    for zone in after.zones or ():
        if zone.suspect_until and (zone.zone, zone.pool) not in avoided:
            where = " ".join(part for part in (zone.zone, zone.pool) if part) or "spot machines"
            message = f"{where}: a machine is taken away, others may follow: avoided until {zone.suspect_until}"
            yield Note(type="Warning", reason=Reason.ZONE_SUSPECT, action="Observe", message=message)


def _notices(before: GptOssStatus, after: GptOssStatus) -> Iterable[Note]:
    """Yield what clouds have announced since the last pass. Replicas that were told the same share an event."""
    known = before.notices or ()
    told: dict[tuple[NoticeKind, str], list[str]] = {}
    for notice in after.notices or ():
        if notice not in known:
            told.setdefault((notice.kind, words_of(notice)), []).append(notice.replica)
    for (kind, words), replicas in told.items():
        yield Note(
            type="Normal" if kind is NoticeKind.REBALANCE else "Warning",
            reason=Reason.INTERRUPTION_NOTICE,
            action="Observe",
            message=f"{', '.join(replicas)}: {words}",
        )


def _turns(before: GptOssStatus, after: GptOssStatus) -> Iterable[Note]:
    """Yield a warning when something new is wrong, and good news when requests are answered again."""
    degraded = _condition(after, ConditionType.DEGRADED)
    told = degraded is not None and degraded.reason in (Reason.ROLLED_BACK, Reason.ROLLOUT_FAILED)
    if degraded and degraded.status == "True" and not told and _changed(before, degraded):
        yield Note(type="Warning", reason=degraded.reason, action="Observe", message=degraded.message)
    available = _condition(after, ConditionType.AVAILABLE)
    was_available = _condition(before, ConditionType.AVAILABLE)
    if available and available.status == "True" and not (was_available and was_available.status == "True"):
        message = f"answers at {after.url}: {available.message}"
        yield Note(type="Normal", reason=available.reason, action="Observe", message=message)


def _fetched(before: GptOssStatus, after: GptOssStatus) -> Iterable[Note]:
    """Yield that replicas wait no more for their weights."""
    cached, was = (_condition(status, ConditionType.MODEL_CACHED) for status in (after, before))
    if cached and cached.status == "True" and not (was and was.status == "True"):
        yield Note(type="Normal", reason=cached.reason, action="Fetch", message=cached.message)


def _changed(before: GptOssStatus, condition: Condition) -> bool:
    old = _condition(before, condition.type)
    return old is None or (old.status, old.reason, old.message) != (
        condition.status,
        condition.reason,
        condition.message,
    )


def _condition(status: GptOssStatus, wanted: ConditionType) -> Condition | None:
    return next((condition for condition in status.conditions if condition.type is wanted), None)
