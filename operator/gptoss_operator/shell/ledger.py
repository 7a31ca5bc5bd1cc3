"""What was applied, as far as this process knows, and what could not be applied.

Server-side apply is idempotent, but not free: the ledger tells an object that still is as we left it from one that
somebody has changed. A new process knows nothing and applies everything once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gptoss_operator.core.objects import Annotations, Child
from gptoss_operator.core.observation import ChildKey, Problem
from gptoss_operator.shell.resources import REVISION
from gptoss_operator.shell.store import Key


KINDS_WITH_GENERATION: Final = frozenset({"StatefulSet", "Deployment", "PodDisruptionBudget", "Job", "InferencePool"})
"""Kinds whose `metadata.generation` grows with every change of their spec. Others are compared by resource version."""

KINDS_LEFT_ALONE: Final = frozenset({"PersistentVolumeClaim", REVISION})
"""Kinds whose content cannot be changed, except that a claim may grow; many controllers write about claims."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The last apply of one object."""

    uid: str
    version: str
    digest: str
    labels: Mapping[str, str]
    annotations: Annotations


class Ledger:
    """Remembers the last apply of each child, by the deployment it is part of."""

    def __init__(self) -> None:
        self._entries: dict[Key, dict[ChildKey, Entry]] = {}
        self._problems: dict[Key, dict[ChildKey, Problem]] = {}

    def record(self, deployment: Key, key: ChildKey, applied: Child, digest: str, labels: Mapping[str, str]) -> None:
        """Remember that a manifest with `digest` and `labels` was applied, and what the API server made of it."""
        entry = Entry(
            uid=applied.metadata.uid,
            version=_version(key.kind, applied),
            digest=digest,
            labels=labels,
            annotations=applied.metadata.annotations,
        )
        self._entries.setdefault(deployment, {})[key] = entry
        self._problems.get(deployment, {}).pop(key, None)

    def applied_digest(self, deployment: Key, key: ChildKey, live: Child) -> str | None:
        """Return the digest of the last apply if `live` is still as that apply left it, else None."""
        entry = self._entries.get(deployment, {}).get(key)
        if entry is None or entry.uid != live.metadata.uid or entry.version != _version(key.kind, live):
            return None
        # These do not count for the generation, but the reflectors and the selectors live by the labels, and rollouts
        # by annotations.
        same = entry.labels.items() <= live.metadata.labels.items() and entry.annotations == live.metadata.annotations
        return entry.digest if same else None

    def refuse(self, deployment: Key, key: ChildKey, problem: Problem) -> bool:
        """Remember why an object could not be applied. Return whether that is news."""
        problems = self._problems.setdefault(deployment, {})
        news = problems.get(key) != problem
        problems[key] = problem
        return news

    def problems(self, deployment: Key) -> Mapping[ChildKey, Problem]:
        """Return why objects could not be applied, until they can be."""
        return dict(self._problems.get(deployment, {}))

    def retract_problems(self, deployment: Key, still_wanted: frozenset[ChildKey]) -> None:
        """Drop the problems of objects that are not wanted any more."""
        problems = self._problems.get(deployment, {})
        for key in set(problems) - still_wanted:
            del problems[key]

    def applied(self, deployment: Key) -> frozenset[ChildKey]:
        """Return what was applied and has not been forgotten."""
        return frozenset(self._entries.get(deployment, {}))

    def forget_child(self, deployment: Key, key: ChildKey) -> None:
        """Drop what is remembered of one object, which is deleted."""
        self._entries.get(deployment, {}).pop(key, None)
        self._problems.get(deployment, {}).pop(key, None)

    def forget(self, deployment: Key) -> None:
        """Drop what is remembered of a deployment, which is gone."""
        self._entries.pop(deployment, None)
        self._problems.pop(deployment, None)


def _version(kind: str, child: Child) -> str:
    if kind in KINDS_WITH_GENERATION:
        return f"generation {child.metadata.generation}"
    if kind in KINDS_LEFT_ALONE:
        return ""
    return child.metadata.resource_version
