"""What the operator reports of revisions: a part of the `status` of a GptOssDeployment."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from gptoss_operator.api.base import ApiModel


REASON_LENGTH = 1024


class RolloutPhase(StrEnum):
    """How far a rollout is."""

    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    """By spec.rollout.paused."""
    WAITING = "Waiting"
    """For a window, weights, the canary's time, machines, or replicas that leave: no deadline runs."""
    ROLLING_BACK = "RollingBack"
    FAILED = "Failed"
    """The revision has failed, and the one of before cannot or may not come back."""


class GateResult(StrEnum):
    """What came of a gate."""

    PENDING = "Pending"
    PASSED = "Passed"
    FAILED = "Failed"


class Outcome(StrEnum):
    """What became of a revision."""

    ACTIVE = "Active"
    """It serves."""
    SUPERSEDED = "Superseded"
    """Another one took its place."""
    ROLLED_BACK = "RolledBack"
    """It failed."""
    ABANDONED = "Abandoned"
    """The spec was changed before it served."""


class GateStatus(ApiModel):
    """What one new replica has shown."""

    replica: str
    """Its name."""
    gate: str
    """Ready, DeepHealth, GoldenPrompts or Canary."""
    result: GateResult
    """Pending, Passed or Failed."""
    message: str = Field(default="", max_length=512)
    """What was seen, with its numbers."""


class RolloutStatus(ApiModel):
    """A rollout that is under way, or that failed and cannot go back."""

    revision: str
    """Where to."""
    from_revision: str | None = Field(default=None, alias="from")
    """Which revision served before."""
    phase: RolloutPhase
    """Progressing, Paused, Waiting, RollingBack or Failed."""
    strategy: str
    """Surge, Replace or BlueGreen, as it was chosen for the next step."""
    reason: str = Field(max_length=REASON_LENGTH)
    """What is done or waited for, and why so."""
    step: int
    """Which step it is at."""
    steps: int
    """How many there are, as it stands."""
    updated: int
    """Replicas of the revision that have passed their gates."""
    started_at: str = Field(json_schema_extra={"format": "date-time"})
    """When it began."""
    progressed_at: str = Field(json_schema_extra={"format": "date-time"})
    """When something last got on. The deadline runs from here."""
    progress: int = 0
    """How far it had got then, for comparison."""
    eta_seconds: int | None = None
    """How long it will take from `progressedAt` on, by the cold starts that were seen. Absent: none was."""
    gates: tuple[GateStatus, ...] | None = Field(default=None, max_length=64)
    """What the newest replicas have shown."""


class RefusedRevision(ApiModel):
    """A revision that failed. It is not tried again until the spec asks for another one."""

    revision: str
    """Which."""
    reason: str
    """Why, in one word for programs."""
    gate: str | None = None
    """The gate that it did not pass. Absent: it was seen otherwise that it is bad."""
    message: str = Field(max_length=REASON_LENGTH)
    """Why, in words: what was seen, of which replica, and what its server last said."""
    at: str = Field(json_schema_extra={"format": "date-time"})
    """When."""


class RevisionStatus(ApiModel):
    """One revision of the history."""

    revision: str
    """Its hash, which its replicas carry in the label `gptoss.dev/revision`."""
    outcome: Outcome
    """Active, Superseded, RolledBack or Abandoned."""
    at: str = Field(json_schema_extra={"format": "date-time"})
    """When it came to that."""
    image: str | None = None
    """Image of its model server."""
    model: str | None = None
    """Where its weights come from."""
    changes: tuple[Annotated[str, Field(max_length=128)], ...] | None = Field(default=None, max_length=16)
    """Fields of the spec in which it differs from the one before."""
    message: str | None = Field(default=None, max_length=REASON_LENGTH)
    """Why it failed. Absent: it did not."""
