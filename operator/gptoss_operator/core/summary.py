"""How many replicas there are, for the status, and what a pass does, in one sentence."""

from collections.abc import Sequence
from typing import Any

from gptoss_operator.api.names import LABEL_SLOT, replica
from gptoss_operator.api.status import ConditionType, InterruptionNotice, Reason
from gptoss_operator.core.actions import Annotate, Apply, Delete
from gptoss_operator.core.conditions import Finding
from gptoss_operator.core.decide import Decided
from gptoss_operator.core.fleet import Action, Replica, Step, replaced_by
from gptoss_operator.core.notices import shown
from gptoss_operator.core.observation import Owner


def counted(
    owner: Owner, decided: Decided, replicas: Sequence[Replica], wanted: str, *, dry_run: bool
) -> dict[str, Any]:
    """Return the fields of the status that count replicas; `wanted` is the revision that the spec asks for.

    In a dry run those that exist are those that should.
    """
    # A successor counts when its predecessor is gone: an autoscaler of somebody else would take a surge for its own.
    existing = sum(r.exists for r in replicas) - len(replaced_by(replicas))
    ready = sum(r.ready for r in replicas)
    desired = existing if dry_run else decided.target
    return {
        "replicas": existing,
        "ready_replicas": ready,
        "updated_replicas": sum(r.exists and r.revision == wanted for r in replicas),
        "desired_replicas": desired,
        "ready": f"{ready}/{desired}",
        "notices": _notices(owner, replicas) or None,
    }


def _notices(owner: Owner, replicas: Sequence[Replica]) -> tuple[InterruptionNotice, ...]:
    told = ((replica(owner.name, r.slot), r.judgement.notice) for r in replicas if r.exists)
    return shown((name, notice) for name, notice in told if notice)


def reason_of(
    applies: Sequence[Apply],
    deletes: Sequence[Delete],
    annotates: Sequence[Annotate],
    steps: Sequence[Step],
    findings: Sequence[Finding],
) -> str:
    """Return what a pass does and why. A quiet one says why it is quiet."""
    moving = [s for s in steps if s.action not in (Action.KEEP, Action.HOLD)]
    slots: dict[tuple[Action, str], list[str]] = {}
    for step in moving:
        slots.setdefault((step.action, step.reason), []).append(str(step.slot))
    done = [f"{action} slot {', '.join(about)}: {why}" for (action, why), about in slots.items()]
    stepped = {str(step.slot) for step in moving}
    done += [
        f"apply {a.key.kind} {a.key.name}: {a.reason}"
        for a in applies
        if a.manifest["metadata"]["labels"].get(LABEL_SLOT) not in stepped
    ]
    done += [
        f"delete {d.key.kind} {d.key.name}: {d.reason}" for d in deletes if d.key.kind not in ("StatefulSet", "Pod")
    ]
    done += [f"annotate Pod {a.pod}: {a.reason}" for a in annotates]
    if done:
        return "; ".join(done)
    state = next((f for f in findings if f.type is ConditionType.PROGRESSING), None)
    if state and state.reason is not Reason.SETTLED:
        return f"waiting: {state.message}"
    return "settled: everything is as the spec asks"
