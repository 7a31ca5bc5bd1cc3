"""What one gateway and one replica have said so far, as far as the load is made of it. Pure."""

from dataclasses import dataclass
from typing import Final

from gptoss_operator.core.scaling.load import STALE_SECONDS, ReplicaLoad
from gptoss_operator.core.scaling.rates import Course, Gains, Reading, continued, gained
from gptoss_runtime.contract import Counter, Gauge, ReplicaState
from gptoss_runtime.gateway_contract import GatewayCounter, GatewayGauge, GatewayState


YOUNG_SECONDS: Final = 60.0
"""A gateway that is first heard within this time of its start has been heard from its start on."""
SHORT_SECONDS: Final = 1.0
"""Two documents of a replica that are closer than this say little of its speed."""

OFFERED: Final = (GatewayCounter.ARRIVALS, GatewayCounter.SHED)
"""Requests that clients want a replica for. A gateway that cannot be too full counts none of the second."""
REQUESTS: Final = (GatewayGauge.IN_FLIGHT, GatewayGauge.QUEUED, GatewayGauge.HELD)
WORK: Final = (Counter.REQUESTS_FINISHED, Counter.PROMPT_TOKENS, Counter.GENERATION_TOKENS)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayHistory:
    """One gateway pod."""

    state: GatewayState
    """Its newest document."""
    reading: Reading
    offered: Course
    """Requests that clients wanted a replica for."""
    quiet_since: float | None
    """Since when documents without a gap show no request: none came, waits or runs. None: they do not."""
    active_at: float | None
    """When a document last showed a request."""

    @property
    def at(self) -> float:
        """When its newest document was read."""
        return self.reading.at


def after_document(before: GatewayHistory | None, state: GatewayState, at: float) -> GatewayHistory:
    """Return the history with one more document, which `is_newer` than the last."""
    reading = Reading(at, state.start_id, state.sequence, {str(GatewayCounter.SHED): 0.0, **state.counters})
    if before is None:
        offered, quiet_since, came = _first_course(reading, state.uptime_seconds), None, 0.0
    else:
        gain = gained(before.reading, reading, OFFERED)
        came = sum(gain.values()) if gain is not None else 0.0
        # What is not known is no request, and no evidence that there was none: then the course begins anew.
        offered = continued(before.offered, at, came) if gain is not None else _first_course(reading, 0.0)
        is_gapless = gain is not None and state.start_id == before.state.start_id and at - before.at <= STALE_SECONDS
        quiet_since = before.quiet_since if is_gapless and came == 0 else None
    is_quiet = all(state.gauges.get(name) == 0 for name in REQUESTS)
    is_active = came > 0 or any(state.gauges.get(name, 0.0) > 0 for name in REQUESTS)
    return GatewayHistory(
        state=state,
        reading=reading,
        offered=offered,
        quiet_since=(at if quiet_since is None else quiet_since) if is_quiet else None,
        active_at=at if is_active else (before.active_at if before else None),
    )


def first_tokens(before: GatewayHistory | None, after: GatewayHistory) -> Gains | None:
    """Return how many answers had their first token within each bound in milliseconds between two documents."""
    if before is None:
        return None
    bounds = after.state.ttft_ms
    reset = after.state.start_id != before.state.start_id
    earlier = {} if reset else before.state.ttft_ms
    return {bound: max(count - earlier.get(bound, 0.0), 0.0) for bound, count in bounds.items()}


def _first_course(reading: Reading, uptime_seconds: float) -> Course:
    total = sum(reading.counters.get(name, 0.0) for name in OFFERED)
    if 0 < uptime_seconds <= YOUNG_SECONDS:
        return Course(points=((reading.at - uptime_seconds, 0.0), (reading.at, total)), from_start=True)
    return Course(points=((reading.at, total),))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaHistory:
    """The last two documents of a replica that say something of its speed."""

    reading: Reading
    running: float | None
    tokens_per_second: float | None = None
    """Between the two. None: there are no two, or they are of different starts, or there is a gap between them."""
    running_between: float | None = None
    """Requests that ran meanwhile: the mean of both ends."""


def after_state(before: ReplicaHistory | None, state: ReplicaState, at: float) -> tuple[ReplicaHistory, Gains | None]:
    """Return the history with one more document, and the work that was done between the two, if that is known."""
    reading = Reading(at, state.start_id, state.sequence, state.counters)
    running = state.gauges.get(Gauge.REQUESTS_RUNNING)
    if before is None:
        return ReplicaHistory(reading=reading, running=running), None
    seconds = at - before.reading.at
    if seconds < SHORT_SECONDS and state.start_id == before.reading.start_id:
        return before, None
    is_gapless = state.start_id == before.reading.start_id and seconds <= STALE_SECONDS
    tokens = gained(before.reading, reading, (Counter.GENERATION_TOKENS,)) if is_gapless else None
    ends = (before.running, running)
    after = ReplicaHistory(
        reading=reading,
        running=running,
        tokens_per_second=tokens[Counter.GENERATION_TOKENS] / seconds if tokens else None,
        running_between=sum(end for end in ends if end is not None) / 2 if tokens and None not in ends else None,
    )
    return after, gained(before.reading, reading, WORK)


def replica_load(state: ReplicaState, history: ReplicaHistory | None) -> ReplicaLoad:
    """Return what a replica said a moment ago."""
    gauges = state.gauges
    between = history.running_between if history else None
    return ReplicaLoad(
        running=gauges.get(Gauge.REQUESTS_RUNNING) if between is None else between,
        waiting=gauges.get(Gauge.REQUESTS_WAITING),
        in_flight=gauges.get(Gauge.REQUESTS_IN_FLIGHT),
        kv_usage=gauges.get(Gauge.KV_CACHE_USAGE),
        tokens_per_second=history.tokens_per_second if history else None,
        max_num_seqs=gauges.get(Gauge.MAX_NUM_SEQS),
        kv_tokens=gauges.get(Gauge.KV_TOKENS),
    )
