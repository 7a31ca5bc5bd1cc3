"""The conditions on scaling and machines: whether the load is followed, a bound is hit, machines come."""

from collections.abc import Iterable
from typing import Final

from gptoss_operator.api.status import ConditionType, Reason
from gptoss_operator.core.conditions import Finding
from gptoss_operator.core.decide import Decided
from gptoss_operator.core.health import PENDING_TOO_LONG
from gptoss_operator.core.placement.cover import missing
from gptoss_operator.core.placement.market import ON_DEMAND_ZONE
from gptoss_operator.core.placement.places import CapacityType, Stage
from gptoss_operator.core.scaling.decision import Limit
from gptoss_operator.core.scaling.load import Load, known


REMEDIES: Final = {
    Limit.MAX_REPLICAS: "spec.scaling.maxReplicas, or a schedule that holds now, allows no more: raise it",
    Limit.MAX_GPUS: "spec.scaling.budget.maxGpus allows no more: raise it",
    Limit.MAX_HOURLY_COST: "spec.scaling.budget.maxHourlyCost allows no more at the dearest place: raise it",
}
"""What each bound is called, and what a person can do."""
SHED: Final = "or let clients wait: beyond spec.routing.queue requests get 429"


def scaling_findings(decided: Decided, load: Load, *, dry_run: bool) -> tuple[Finding, ...]:
    """Return the conditions that hold only where the load is followed, or spot machines are used."""
    return (*_active(decided, load, dry_run=dry_run), *_saturated(decided), *_capacity(decided))


def _active(decided: Decided, load: Load, *, dry_run: bool) -> Iterable[Finding]:
    """Yield whether the load is measured and followed."""
    if decided.scale is None:
        return
    age = known(load.gateway_age_seconds)
    measured = age is not None and age <= decided.policy.stale_seconds
    if not measured:
        reason = Reason.METRICS_UNAVAILABLE
        message = (
            "a gateway pod does not say what it does, so that no replica is removed: see whether the operator reaches "
            "its port (a NetworkPolicy?), and its log"
        )
    elif dry_run:
        reason, message = Reason.DRY_RUN, "the load is measured; spec.mode DryRun changes nothing"
    else:
        reason, message = Reason.LOAD_MEASURED, "the load is measured and followed"
    holds = measured and not dry_run
    yield Finding(type=ConditionType.SCALING_ACTIVE, holds=holds, reason=reason, message=message)


def _saturated(decided: Decided) -> Iterable[Finding]:
    """Yield whether a bound keeps replicas away that the load needs."""
    scale = decided.scale
    if scale is None:
        return
    remedy = REMEDIES.get(scale.limit)
    if remedy is None:
        reason, message = Reason.BELOW_MAXIMUM, "the bounds allow what the load needs"
    else:
        reason = Reason.AT_MAXIMUM
        message = f"the load needs more than {scale.replicas} replicas, and {remedy}, {SHED}"
    yield Finding(type=ConditionType.SATURATED, holds=remedy is not None, reason=reason, message=message)


def _capacity(decided: Decided) -> Iterable[Finding]:
    """Yield whether machines come when they are asked for."""
    if not decided.places.spot:
        return
    now = decided.placement.memory.clock
    overdue = PENDING_TOO_LONG.total_seconds()
    waiting = [r for r in decided.placed if r.stage is Stage.PENDING]
    stuck = [r for r in waiting if r.place.capacity is not CapacityType.SPOT and now - r.since > overdue]
    blocked = sorted(
        " ".join(part for part in key if part) or "any zone"
        for key, zone in decided.placement.memory.zones.items()
        if key[0] != ON_DEMAND_ZONE and zone.blocked_until is not None and now < zone.blocked_until
    )
    # On-demand replicas also come first where nothing is ready yet, and stay for a while: that alone is no shortage.
    terms = decided.placement.terms
    if stuck:
        reason = Reason.MACHINES_SHORT
        message = (
            f"{len(stuck)} replicas wait for on-demand machines for more than {overdue:.0f} s: see why with "
            "`kubectl describe pod`, and raise the quota or add a node pool"
        )
    elif blocked or (terms.on_demand > terms.base and missing(terms.spot - terms.extra, terms.cover)):
        why = f"are short in {', '.join(blocked)}" if blocked else "are short, or their price does not pay for losses"
        stand_in = "on-demand machines stand in" if decided.places.fallback else "replicas wait (spec.spot.fallback)"
        reason, message = Reason.SPOT_SHORT, f"spot machines {why}: {stand_in}"
    else:
        message = "machines come when they are asked for"
        yield Finding(type=ConditionType.CAPACITY_AVAILABLE, holds=True, reason=Reason.MACHINES_COME, message=message)
        return
    yield Finding(type=ConditionType.CAPACITY_AVAILABLE, holds=False, reason=reason, message=message)
