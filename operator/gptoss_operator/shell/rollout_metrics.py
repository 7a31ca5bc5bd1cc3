"""What is shown of rollouts, for each GptOssDeployment that has one."""

from collections.abc import Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from gptoss_operator.api.status_rollout import RolloutPhase
from gptoss_operator.shell.store import Key


OBJECT: Final = ("namespace", "name")
NUMBERS: Final = {
    "updated": ("rollout_updated_replicas", "Replicas of the new revision that have passed their gates."),
    "step": ("rollout_step", "Which step a rollout is at."),
    "steps": ("rollout_steps", "How many steps a rollout has, as it stands."),
}
"""Fields of `status.rollout`, and the metrics that show them."""

COMPLETE: Final = "complete"
"""The new revision serves as a whole."""
ROLLED_BACK: Final = "rolled_back"
"""It was refused, and the one of before comes back."""
FAILED: Final = "failed"
"""It was refused, and the one of before cannot or may not come back."""


class RolloutMetrics:
    """How far rollouts are, and how they ended."""

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        self._numbers = {
            field: Gauge(f"{prefix}_{name}", f"{text} Absent without a rollout.", OBJECT, registry=registry)
            for field, (name, text) in NUMBERS.items()
        }
        self._phase = Gauge(
            f"{prefix}_rollout_phase",
            "1 for the phase that a rollout is in, as in status.rollout.phase. Absent without a rollout.",
            [*OBJECT, "phase"],
            registry=registry,
        )
        self._refused = Gauge(
            f"{prefix}_rollout_refused",
            "1 while the spec asks for a revision that has failed. Absent otherwise.",
            OBJECT,
            registry=registry,
        )
        self._ends = Counter(
            f"{prefix}_rollouts",
            "Rollouts that ended: complete, rolled_back, or failed where nothing could be rolled back.",
            [*OBJECT, "result"],
            registry=registry,
        )
        self._shown: dict[Key, str] = {}
        """The phase that is shown of each rollout."""
        self._refusing: set[Key] = set()
        self._counted: dict[Key, set[str]] = {}

    def show(self, key: Key, status: Mapping[str, Any] | None) -> None:
        """Show `status.rollout` and `status.refusedRevision`; what is not there is absent."""
        self._show_rollout(key, (status or {}).get("rollout"))
        if (status or {}).get("refusedRevision"):
            self._refused.labels(*key).set(1)
            self._refusing.add(key)
        elif key in self._refusing:
            self._refused.remove(*key)
            self._refusing.remove(key)

    def count_end(self, key: Key, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> None:
        """Count the end of a rollout, if these two statuses have it between them."""
        result = _end(before or {}, after)
        if result is not None:
            self._ends.labels(*key, result).inc()
            self._counted.setdefault(key, set()).add(result)

    def forget(self, key: Key) -> None:
        """Show nothing more of an object that is gone."""
        self.show(key, None)
        for result in self._counted.pop(key, set()):
            self._ends.remove(*key, result)

    def _show_rollout(self, key: Key, rollout: Mapping[str, Any] | None) -> None:
        phase, before = (rollout or {}).get("phase", ""), self._shown.pop(key, "")
        if before and before != phase:
            self._phase.remove(*key, before)
        if rollout:
            self._phase.labels(*key, phase).set(1)
            for field, gauge in self._numbers.items():
                gauge.labels(*key).set(rollout.get(field) or 0)
            self._shown[key] = phase
        elif before:
            for gauge in self._numbers.values():
                gauge.remove(*key)


def _end(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """Return how a rollout has ended between two statuses, or None. The first revision of an object is no rollout."""
    refused = after.get("refusedRevision")
    if refused and refused["revision"] != (before.get("refusedRevision") or {}).get("revision"):
        return FAILED if (after.get("rollout") or {}).get("phase") == RolloutPhase.FAILED else ROLLED_BACK
    served, serves = before.get("currentRevision"), after.get("currentRevision")
    return COMPLETE if served and serves and served != serves else None
