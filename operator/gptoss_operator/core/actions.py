"""What a pass may do to the cluster. Values only; `shell.carry_out` does them, in this order."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gptoss_operator.api.status import GptOssStatus, Reason
from gptoss_operator.core.memory import Memory
from gptoss_operator.core.observation import ChildKey, Manifest
from gptoss_operator.core.scaling.decision import Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """Apply one manifest server-side."""

    manifest: Manifest
    digest: str
    """`digest_of(manifest)`."""
    exists: bool
    """Whether the owner's object was seen. If not, one of the same name that belongs to somebody else is left alone."""
    reason: str

    @property
    def key(self) -> ChildKey:
        """Kind and name of the object."""
        return ChildKey(self.manifest["kind"], self.manifest["metadata"]["name"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Delete one object, if it still is the one that was seen."""

    key: ChildKey
    """Kind (a child's, or Pod) and name."""
    uid: str
    resource_version: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotate:
    """Set one annotation of one pod, if it still is the one that was seen."""

    pod: str
    uid: str
    annotation: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One Kubernetes Event about the user's object."""

    type: Literal["Normal", "Warning"]
    reason: Reason
    action: str
    """What the operator did or found, in one CamelCase word."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything one pass does, and why."""

    applies: tuple[Apply, ...] = ()
    deletes: tuple[Delete, ...] = ()
    annotates: tuple[Annotate, ...] = ()
    status: GptOssStatus | None
    """The status to write, or None when the one that is there is right."""
    notes: tuple[Note, ...] = ()
    look_again_in_seconds: float | None = None
    """When to make the next pass if nothing changes before. None: at the next resync."""
    reason: str
    """What this pass does and why, in one sentence. A quiet pass says why it is quiet."""
    memory: Memory | None = None
    """What the next pass of this object is to be given. None: what this one was given."""
    terms: Mapping[str, float] = field(default_factory=dict)
    """The numbers that the size and the places were decided from, by name, for metrics. Unknown ones are absent."""
    limit: Limit = Limit.NONE
    """What kept the size from what the load alone asks for."""


def digest_of(manifest: Manifest) -> str:
    """Return a digest of the manifest that does not depend on the order of its keys."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
