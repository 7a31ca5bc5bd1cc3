"""How many replicas there should be.

The law: size by the work that arrives, add what waits over the time in which it is to be served, count starting
replicas as supply, and let missing evidence raise the number but never lower it.
"""

import math
from dataclasses import replace
from typing import Final

from gptoss_operator.core.scaling.bounds import Bounds, bounds_at
from gptoss_operator.core.scaling.decision import Limit, ScaleDecision, ScalingMemory, Terms
from gptoss_operator.core.scaling.demand import Demand, demand_of
from gptoss_operator.core.scaling.evidence import Evidence, evidence_of
from gptoss_operator.core.scaling.fit import Fit, learn
from gptoss_operator.core.scaling.load import Load, known
from gptoss_operator.core.scaling.policy import ScalingPolicy
from gptoss_operator.core.scaling.stabilise import (
    greatest,
    highest_step,
    lowest_step,
    moved,
    window_seconds,
    with_need,
    within,
)
from gptoss_operator.core.scaling.supply import Supply
from gptoss_operator.core.scaling.week import with_week_need
from gptoss_operator.core.scaling.words import explained


LONGEST_GAP_SECONDS: Final = 300.0
"""Between two decisions. What is longer was watched by nobody, and does not make an earlier need older."""


def seed(*, target: int | None, replica_seconds: float | None, now: float) -> ScalingMemory:
    """Return the memory of an operator that has just started, from what the one before has written down.

    The first decision keeps `target`, or what exists if that is more, and removes nothing for the usual window.
    """
    cost = known(replica_seconds) or None
    return ScalingMemory(target=target, clock=now, fit=Fit(replica_seconds=cost))


def decide_replicas(
    policy: ScalingPolicy, load: Load, supply: Supply, memory: ScalingMemory, now: float
) -> ScaleDecision:
    """Return how many replicas there should be at `now`, in seconds since 1970.

    What is not known never lowers the number. The bounds of the spec hold on every path, whatever else is asked for.
    Raises `zoneinfo.ZoneInfoNotFoundError` for a schedule whose time zone the machine does not know.
    """
    current = max(0, memory.target or 0) if memory.since is not None else max(0, memory.target or 0, supply.existing)
    if not math.isfinite(now) or now < memory.clock:
        return _clock_went_back(policy, supply, memory, current, now)
    evidence = evidence_of(load, supply, policy.stale_seconds)
    elapsed = now - memory.clock if memory.since is not None else 0.0
    memory = _watched(memory, evidence, elapsed, now)
    fit = learn(memory.fit, load.replicas.values(), load.work, itl_seconds=policy.itl_seconds, elapsed=elapsed)
    bounds = bounds_at(policy, supply, now)
    none = bounds.low == 0
    demand = demand_of(policy, evidence, supply, fit, memory, current=current, may_be_none=none, now=now)
    window = window_seconds(policy, supply.cold_start)
    needs = memory.needs
    if evidence.complete:
        needs = with_need(needs, demand.down, now=now, window=window)
    memory = replace(
        memory,
        needs=needs,
        ups=within(memory.ups, now=now, period=policy.up_period_seconds),
        downs=within(memory.downs, now=now, period=policy.down_period_seconds),
        guarded_at=now if demand.guarded else memory.guarded_at,
        late_since=demand.late_since,
        fit=fit,
        week=with_week_need(memory.week, demand.week, now) if evidence.complete else memory.week,
    )
    up = _wanted_up(policy, demand, memory, now)
    if up > current:
        wanted, limit = _raised(policy, supply, memory, current, up=up, high=bounds.high)
    else:
        young = memory.since is not None and now - memory.since < window
        kept = _kept(supply, evidence, demand, bounds, current=current, young=young)
        wanted, limit = (current, kept) if kept is not None else _lowered(policy, demand, memory, bounds, current)
    return _decided(supply, memory, demand.terms, bounds, current=current, wanted=wanted, up=up, limit=limit)


def _clock_went_back(
    policy: ScalingPolicy, supply: Supply, memory: ScalingMemory, current: int, now: float
) -> ScaleDecision:
    """Return the decision from before. All that is remembered moves with the clock, so that its age stays."""
    moment = now if math.isfinite(now) else memory.clock
    shift = moment - memory.clock
    memory = replace(
        memory,
        since=None if memory.since is None else memory.since + shift,
        clock=moment,
        needs=moved(memory.needs, shift),
        ups=moved(memory.ups, shift),
        downs=moved(memory.downs, shift),
        guarded_at=None if memory.guarded_at is None else memory.guarded_at + shift,
        late_since=None if memory.late_since is None else memory.late_since + shift,
        blind_since=None if memory.blind_since is None else memory.blind_since + shift,
    )
    replicas = bounds_at(policy, supply, moment).clip(current)
    memory = replace(memory, target=replicas)
    reason = f"{replicas}: the clock went back, so nothing is decided until it goes on"
    return ScaleDecision(replicas=replicas, reason=reason, limit=Limit.NO_EVIDENCE, terms=Terms(), memory=memory)


def _watched(memory: ScalingMemory, evidence: Evidence, elapsed: float, now: float) -> ScalingMemory:
    """Return `memory` after `elapsed` seconds. Time without evidence makes no earlier need older."""
    unseen = max(0.0, elapsed - LONGEST_GAP_SECONDS) if evidence.complete else elapsed
    since = now if memory.since is None else memory.since + unseen
    blind = None if not evidence.nothing else memory.blind_since if memory.blind_since is not None else now
    return replace(memory, since=since, clock=now, needs=moved(memory.needs, unseen), blind_since=blind)


def _wanted_up(policy: ScalingPolicy, demand: Demand, memory: ScalingMemory, now: float) -> int:
    """Return what the load asks for, or what is to be there when nothing was known for long."""
    dark = memory.blind_since is not None and now - memory.blind_since >= policy.dark_seconds
    return max(demand.up, policy.fallback_replicas or 0) if dark else demand.up


def _raised(
    policy: ScalingPolicy, supply: Supply, memory: ScalingMemory, current: int, *, up: int, high: int
) -> tuple[int, Limit]:
    """Return the next number on the way up. While nothing is ready, there is nothing to be careful for."""
    highest = highest_step(policy, current, memory.ups)
    if supply.ready > 0 and highest < min(up, high):
        return highest, Limit.UP_STEP
    return up, Limit.NONE


def _kept(
    supply: Supply, evidence: Evidence, demand: Demand, bounds: Bounds, *, current: int, young: bool
) -> Limit | None:
    """Return why none may be removed, None if one may be."""
    watched = evidence.complete and not demand.idle
    checks = (
        (current == 0 or (watched and demand.floor >= current), Limit.NONE),
        (watched and demand.busy >= current, Limit.BUSY),
        (bounds.low >= current, Limit.MIN_REPLICAS),
        (young, Limit.JUST_STARTED),
        (supply.unsettled, Limit.UNSETTLED),
        (not evidence.complete, Limit.NO_EVIDENCE),
    )
    return next((limit for holds, limit in checks if holds), None)


def _lowered(
    policy: ScalingPolicy, demand: Demand, memory: ScalingMemory, bounds: Bounds, current: int
) -> tuple[int, Limit]:
    """Return the next number on the way down, and what it is not below."""
    if demand.idle:
        return 0, Limit.NONE
    floors = (
        (demand.busy, Limit.BUSY),
        (greatest(memory.needs), Limit.STABILIZATION),
        (demand.floor, Limit.NO_EVIDENCE),
        (demand.down, Limit.NONE),
        (bounds.low, Limit.MIN_REPLICAS),
        (lowest_step(policy, current, memory.downs), Limit.DOWN_STEP),
    )
    most = max(number for number, _ in floors)
    # Of several that ask for the same, the plainest is said.
    plain = (Limit.NONE, Limit.MIN_REPLICAS, Limit.STABILIZATION, Limit.BUSY, Limit.NO_EVIDENCE, Limit.DOWN_STEP)
    limit = min((limit for number, limit in floors if number == most), key=plain.index)
    return min(current, most), limit


def _decided(
    supply: Supply,
    memory: ScalingMemory,
    terms: Terms,
    bounds: Bounds,
    *,
    current: int,
    wanted: int,
    up: int,
    limit: Limit,
) -> ScaleDecision:
    """Return the decision. Bounds come last."""
    replicas = bounds.clip(wanted)
    if up > bounds.high or replicas < wanted:
        limit = bounds.high_limit
    elif replicas > wanted:
        limit = Limit.MIN_REPLICAS
    changed = ((memory.clock, current),)
    memory = replace(
        memory,
        target=replicas,
        ups=memory.ups + changed if replicas > current else memory.ups,
        downs=memory.downs + changed if replicas < current else memory.downs,
    )
    reason = explained(terms, limit, bounds, supply, before=current, after=replicas)
    return ScaleDecision(replicas=replicas, reason=reason, limit=limit, terms=terms, memory=memory)
