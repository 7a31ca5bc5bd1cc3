"""How many replicas the load asks for: the terms of a decision, before steps and bounds."""

import math
from dataclasses import dataclass
from typing import Final

from gptoss_operator.core.scaling.decision import ScalingMemory, Terms
from gptoss_operator.core.scaling.evidence import Evidence
from gptoss_operator.core.scaling.fit import KV_SHARE, Fit
from gptoss_operator.core.scaling.load import known
from gptoss_operator.core.scaling.policy import ScalingPolicy
from gptoss_operator.core.scaling.supply import ColdStart, Supply
from gptoss_operator.core.scaling.week import Week, needed_a_week_ago


TREND_SECONDS: Final = 300.0
"""Between the two rates of which a trend is made."""
TREND_SHARE: Final = 0.5
"""Share of a cold start that a trend is followed for, and most that it may add, in units of the rate."""
SHARE: Final = 0.1
"""Share of the replicas that may be missing, and of the need that must be to spare, where that is more than the
policy's tolerances: the tolerance of the HorizontalPodAutoscaler. The reserve is more, so that noise moves nothing."""
LATE_SECONDS: Final = 120.0
"""How long the time to the first token must be too long until one more replica is asked for."""
LATE_BUSY: Final = 0.5
"""Share of what the ready replicas are counted on for that must be in flight, if nothing waits, for another replica to
help: where they have little to do, the time to the first token is that of the prompts."""
USUAL_COLD_START: Final = 300.0
"""Seconds, where none is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What the load asks for."""

    terms: Terms
    up: int
    """Replicas below which the target should not stay."""
    down: int
    """Replicas that the target may come down to; what counts as needed now."""
    floor: int
    """The same if what is not known is as bad as it may be. At least `down`."""
    busy: int
    """Replicas that can just hold the requests that run."""
    week: int
    """What counts as needed when next week looks back: without what last week asks for."""
    idle: bool
    """Whether the last replica may go."""
    late_since: float | None
    guarded: bool
    """Whether one more is asked for because of the time to the first token."""


def demand_of(
    policy: ScalingPolicy,
    evidence: Evidence,
    supply: Supply,
    fit: Fit,
    memory: ScalingMemory,
    *,
    current: int,
    may_be_none: bool,
    now: float,
) -> Demand:
    """Return what is asked for now, after `current` replicas. `may_be_none`: whether the bounds allow it."""
    cold_start = usual_cold_start(supply.cold_start)
    arrivals = counted_arrivals(evidence, cold_start, follow_trend=policy.follow_trend)
    seconds, waiting, ready = fit.replica_seconds, evidence.waiting, max(0, supply.ready)
    rate = None if arrivals is None or seconds is None else arrivals * seconds / policy.utilization
    together = 0.0 if seconds is None else _together(policy, rate, backlog_of(policy, waiting, ready) * seconds, ready)
    backlog = None if seconds is None else max(0.0, together - (rate or 0.0))
    kv_cache = evidence.kv / KV_SHARE if evidence.replicas else None
    concurrency = _concurrency(policy, evidence, fit, rate)
    week = _last_week(policy, memory.week, cold_start, now)
    asked = evidence.asked or (bool(arrivals) and _asked_lately(policy, evidence))
    idle = may_be_none and not week and _idle(policy, evidence)
    # The rates still hold requests of the minutes before.
    nobody = idle or (current == 0 and not asked)
    full = max(together, kv_cache or 0.0, (concurrency or 0.0) * policy.utilization)
    load = 0.0 if nobody else max((rate or 0.0) + (backlog or 0.0), kv_cache or 0.0, concurrency or 0.0)

    late_since = _late_since(policy, evidence, memory.late_since, now)
    late = late_since is not None and now - late_since >= LATE_SECONDS and _busy_enough(evidence, fit, ready)
    rested = memory.guarded_at is None or now - memory.guarded_at >= cold_start
    guarded = late and rested and not supply.starting and ready + 1 > current
    ttft = (ready + 1 if guarded else current) if late else 0

    least = 1 if current > 0 or asked else 0
    # From none, waiting requests are worth a whole replica more at once.
    up = math.ceil(load - (policy.up_tolerance if current else 0.0))
    near_enough = current < load <= (1 + SHARE) * current
    up = max(current if near_enough else up, int(asked))
    spare = max(policy.down_tolerance, SHARE * load)
    down = max(math.ceil(load + spare), least, ttft, week or 0)
    unsure = _at_worst(policy, evidence, fit, rate, ready)
    terms = Terms(
        arrivals=arrivals,
        replica_seconds=seconds,
        capacity=None if seconds is None else policy.utilization / seconds,
        rate=rate,
        backlog=backlog,
        kv_cache=kv_cache,
        ttft=None if evidence.ttft_seconds is None and not late else float(ttft),
        concurrency=concurrency,
        last_week=None if week is None else float(week),
        waiting=None if evidence.nothing else waiting,
        needed=None if evidence.nothing else max(load, float(ttft), float(week or 0)),
        fully_used=None if evidence.nothing else 0.0 if nobody else full,
    )
    return Demand(
        terms=terms,
        up=max(up, ttft, week or 0),
        down=down,
        floor=max(down, math.ceil(unsure + spare)),
        busy=math.ceil((evidence.in_flight or 0.0) / fit.max_num_seqs) if fit.max_num_seqs else 0,
        week=max(up, ttft),
        idle=idle,
        late_since=late_since,
        guarded=guarded,
    )


def usual_cold_start(cold_start: ColdStart) -> float:
    """Return the median cold start in seconds, an assumed one where it is none."""
    return max(1.0, known(cold_start.p50_seconds) or USUAL_COLD_START)


def counted_arrivals(evidence: Evidence, cold_start: float, *, follow_trend: bool) -> float | None:
    """Return the requests per second that are counted on: OFFERED ones, so that an overload shows."""
    rates = [rate for rate in (evidence.arrivals_1m, evidence.arrivals_5m) if rate is not None]
    if not rates:
        return None
    trend = 0.0
    if follow_trend and len(rates) == len(("1m", "5m")) and evidence.arrivals_earlier is not None:
        rise = (rates[0] - evidence.arrivals_earlier) / TREND_SECONDS * cold_start
        trend = min(max(TREND_SHARE * rise, 0.0), TREND_SHARE**2 * rates[1])
    return max(rates) + trend


def backlog_of(policy: ScalingPolicy, waiting: float, ready: int) -> float:
    """Return the requests per second by which a backlog has to be served besides those that arrive.

    Where nothing is ready, all that wait count, and the time is the one for a start from zero.
    """
    if not ready:
        return waiting / policy.wake_seconds
    return max(0.0, waiting - policy.queue_depth * ready) / policy.backlog_seconds


def _together(policy: ScalingPolicy, rate: float | None, backlog: float, ready: int) -> float:
    """Return what arriving and waiting requests need of replicas without reserve: a backlog is what it is for.

    Where nothing is ready, those that wait are among those that arrive.
    """
    arriving = (rate or 0.0) * policy.utilization
    return arriving + backlog if ready else max(arriving, backlog)


def _concurrency(policy: ScalingPolicy, evidence: Evidence, fit: Fit, rate: float | None) -> float | None:
    """Return the need of the requests that run and wait, where what arrives or what it costs is not known."""
    if rate is not None or evidence.nothing:
        return None
    share = policy.utilization if fit.replica_seconds is None else 1.0
    at_once = fit.at_once or fit.max_num_seqs
    if at_once is None:
        return None
    # What gateways count at replicas includes the replicas' own queues.
    at_replicas = max(evidence.in_flight or 0.0, evidence.running + evidence.own_waiting)
    return (at_replicas + (evidence.queued or 0.0) + (evidence.held or 0.0)) / (share * at_once)


def _at_worst(policy: ScalingPolicy, evidence: Evidence, fit: Fit, rate: float | None, ready: int) -> float:
    """Return the need if replicas that do not say have a full cache and let all their requests wait.

    No more caches are full than requests are in flight.
    """
    seconds = fit.replica_seconds or 0.0
    backlog = backlog_of(policy, evidence.waiting + evidence.hidden, ready) * seconds
    full = evidence.kv_missing if evidence.in_flight is None else min(evidence.kv_missing, evidence.in_flight)
    return max(rate or 0.0, _together(policy, rate, backlog, ready), (evidence.kv + full) / KV_SHARE)


def _late_since(policy: ScalingPolicy, evidence: Evidence, before: float | None, now: float) -> float | None:
    """Return since when first tokens come too late. That it is not known changes nothing while requests come."""
    if evidence.ttft_seconds is not None:
        if evidence.ttft_seconds <= policy.ttft_seconds:
            return None
        return now if before is None else before
    return None if evidence.arrivals_5m == 0 and not evidence.asked else before


def _busy_enough(evidence: Evidence, fit: Fit, ready: int) -> bool:
    """Return whether one more replica could bring first tokens earlier."""
    if not ready:
        return False
    if evidence.waiting > 0 or fit.at_once is None:
        return True
    return max(evidence.in_flight or 0.0, evidence.running) >= LATE_BUSY * ready * fit.at_once


def _last_week(policy: ScalingPolicy, week: Week, cold_start: float, now: float) -> int | None:
    return needed_a_week_ago(week, now, cold_start) if policy.same_time_last_week else None


def _asked_lately(policy: ScalingPolicy, evidence: Evidence) -> bool:
    """Return whether a request came since it was idle for long enough: its client may have left and come again."""
    return evidence.idle_seconds is not None and evidence.idle_seconds < policy.idle_seconds


def _idle(policy: ScalingPolicy, evidence: Evidence) -> bool:
    """Return whether evidence without a gap shows that nobody has asked for long enough."""
    idle = evidence.idle_seconds
    return evidence.complete and not evidence.asked and idle is not None and idle >= policy.idle_seconds
