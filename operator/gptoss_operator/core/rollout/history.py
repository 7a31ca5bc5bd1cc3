"""What became of the last revisions, for the status."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from gptoss_operator.api.status import GptOssStatus
from gptoss_operator.api.status_rollout import Outcome, RevisionStatus
from gptoss_operator.core.dates import FORMAT
from gptoss_operator.core.observation import Observation
from gptoss_operator.core.records import inputs_in
from gptoss_operator.core.rollout.revision import Inputs, changes_between
from gptoss_operator.core.rollout.revisions import Revisions


REVISIONS_KEPT: Final = 5


def history_of(
    before: GptOssStatus, revisions: Revisions, keep: str, seen: Observation, now: datetime
) -> tuple[RevisionStatus, ...]:
    """Return the history, the newest first. `keep` is the revision that has come to serve as a whole."""
    entries = list(before.history or ())
    for revision, outcome, message in _news(before, revisions, keep):
        inputs = _inputs(revision, revisions, seen)
        earlier = before.current_revision if before.current_revision != revision else None
        was = _inputs(earlier, revisions, seen) if earlier else {}
        entry = RevisionStatus(
            revision=revision,
            outcome=outcome,
            at=f"{now:{FORMAT}}",
            image=inputs.get("image"),
            model=_model(inputs) or None,
            changes=(changes_between(was, inputs) if was and inputs else ()) or None,
            message=message,
        )
        known = next((e for e in entries if e.revision == revision), None)
        if known is not None and not entry.changes:
            entry = entry.model_copy(update={"changes": known.changes})
        entries = [entry, *(_superseded(e, outcome, now) for e in entries if e.revision != revision)]
    serves = [entry for entry in entries[REVISIONS_KEPT - 1 :] if entry.outcome is Outcome.ACTIVE]
    # However many have failed since, the one that serves is told.
    return tuple([*entries[: REVISIONS_KEPT - 1], *serves] if serves else entries[:REVISIONS_KEPT])


def _news(before: GptOssStatus, revisions: Revisions, keep: str) -> Sequence[tuple[str, Outcome, str | None]]:
    """Return what is new: revisions, what became of them, and why."""
    news: list[tuple[str, Outcome, str | None]] = []
    told = {(entry.revision, entry.outcome) for entry in before.history or ()}
    left = before.revision
    served = left in (None, revisions.wanted, before.current_revision, keep)
    if left is not None and not served and (left, Outcome.ROLLED_BACK) not in told:
        news.append((left, Outcome.ABANDONED, None))
    if revisions.refused is not None and before.refused_revision != revisions.refused:
        news.append((revisions.refused.revision, Outcome.ROLLED_BACK, revisions.refused.message))
    if keep and (keep, Outcome.ACTIVE) not in told:
        news.append((keep, Outcome.ACTIVE, None))
    return news


def _inputs(revision: str, revisions: Revisions, seen: Observation) -> Inputs:
    return revisions.inputs if revision == revisions.wanted else inputs_in(seen.revisions.get(revision))


def _superseded(entry: RevisionStatus, outcome: Outcome, now: datetime) -> RevisionStatus:
    if outcome is not Outcome.ACTIVE or entry.outcome is not Outcome.ACTIVE:
        return entry
    return entry.model_copy(update={"outcome": Outcome.SUPERSEDED, "at": f"{now:{FORMAT}}"})


def _model(inputs: Inputs) -> str:
    """Return where the weights come from, in a few words."""
    model = inputs.get("model", {})
    sources = model.get("source", {})
    parts = [str(value) for source in sources.values() for value in source.values() if isinstance(value, str)]
    revision = inputs.get("modelRevision", "")
    words = "/".join(parts) if parts else str(model.get("name", ""))
    return f"{words}@{revision}" if revision and words else words
