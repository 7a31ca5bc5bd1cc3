"""What the commands for rollouts know of a GptOssDeployment, from the object as kubectl prints it."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pydantic import ValidationError

from gptoss_operator.api.rollout import RolloutSpec
from gptoss_operator.api.status import Condition, ConditionType, GptOssStatus
from gptoss_operator.errors import GptOssError


OF_ROLLOUTS: Final = frozenset({"rollout", "refusedRevision"})
OF_HISTORY: Final = frozenset({"history"})
DEFAULTS: Final = RolloutSpec()


class StatusUnreadable(GptOssError):
    """A part of the status that is asked for is of another version. The message names it."""


class State(StrEnum):
    """Where a deployment is between two revisions."""

    UNSEEN = "Unseen"
    """The operator has not seen the newest spec. What the status says is of an older one."""
    NOT_ACCEPTED = "NotAccepted"
    """The spec cannot be carried out. What runs goes on."""
    ROLLOUT = "Rollout"
    """A rollout is under way, or has failed and cannot go back."""
    REFUSED = "Refused"
    """The revision that the spec asks for has failed, and the one of before serves."""
    SERVING = "Serving"
    """What the spec asks for serves."""
    DRY_RUN = "DryRun"
    """It would be replaced, and is not."""
    STARTING = "Starting"
    """The first revision has not come to serve as a whole yet, or a rollout is about to begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One GptOssDeployment."""

    name: str
    namespace: str
    generation: int
    paused: bool
    dry_run: bool
    deadline_seconds: int
    """How long nothing may get on until a revision counts as failed."""
    status: GptOssStatus

    def condition(self, wanted: ConditionType) -> Condition | None:
        """Return a condition; None where there is none."""
        return next((c for c in self.status.conditions if c.type is wanted), None)

    def holds(self, wanted: ConditionType) -> bool | None:
        """Return whether a condition holds; None where nobody knows."""
        found = self.condition(wanted)
        return {"True": True, "False": False}.get(found.status) if found else None

    def command(self, words: str) -> str:
        """Return a command that the user may give next."""
        return f"kubectl gptoss rollout {words} {self.name} -n {self.namespace}"


def seen_of(body: dict[str, Any], needed: frozenset[str] = OF_ROLLOUTS) -> Seen:
    """Return what `body` says. `needed` are the fields of its status that must be understood.

    Raises StatusUnreadable.
    """
    metadata, spec = body["metadata"], body.get("spec") or {}
    rollout = spec.get("rollout") or {}
    return Seen(
        name=metadata["name"],
        namespace=metadata.get("namespace", "default"),
        generation=metadata.get("generation", 0),
        paused=bool(rollout.get("paused", DEFAULTS.paused)),
        dry_run=spec.get("mode") == "DryRun",
        deadline_seconds=rollout.get("progressDeadlineSeconds") or DEFAULTS.progress_deadline_seconds,
        status=_status(body.get("status") or {}, needed),
    )


def state_of(seen: Seen) -> State:
    """Return where the deployment is."""
    status = seen.status
    if (status.observed_generation or 0) < seen.generation:
        return State.UNSEEN
    if seen.holds(ConditionType.ACCEPTED) is False:
        return State.NOT_ACCEPTED
    if status.rollout:
        return State.ROLLOUT
    if status.refused_revision:
        return State.REFUSED
    if _serves(seen):
        return State.SERVING
    return State.DRY_RUN if seen.dry_run else State.STARTING


def _serves(seen: Seen) -> bool:
    status = seen.status
    if status.current_revision is not None:
        # Without replicas there is nothing to replace; the next one starts with what the spec asks for.
        return status.current_revision == status.revision or status.desired_replicas == 0
    # Written before there were rollouts, or by an operator that knows none.
    is_whole = status.desired_replicas is not None and status.updated_replicas == status.desired_replicas
    return is_whole and seen.holds(ConditionType.PROGRESSING) is False


def _status(document: dict[str, Any], needed: frozenset[str]) -> GptOssStatus:
    """Return the status without what this version does not know. Raises StatusUnreadable for what is `needed`."""
    document = copy.deepcopy(document)
    while True:
        try:
            return GptOssStatus.model_validate(document)
        except ValidationError as error:
            # One at a time, since places move when an item is left out. Each time something goes, so this ends.
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = first["loc"]
            is_unknown_field = first["type"] == "extra_forbidden"
            if not is_unknown_field and place[0] in needed:
                field = ".".join(str(part) for part in ("status", *place))
                hint = "use the plug-in that belongs to the operator in the cluster"
                raise StatusUnreadable(f"{field} cannot be understood: {first['msg']}; {hint}") from error
            # A condition of another version leaves the other conditions as they are.
            _drop(document, place if is_unknown_field else place[:2] if place[0] == "conditions" else place[:1])


def _drop(document: Any, place: Sequence[str | int]) -> None:  # noqa: ANN401 - any JSON
    for part in place[:-1]:
        document = document[part]
    del document[place[-1]]
