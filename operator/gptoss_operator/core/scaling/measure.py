"""From what gateways and replicas have said to the load of one deployment. Pure."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from gptoss_operator.core.scaling.histories import GatewayHistory
from gptoss_operator.core.scaling.load import STALE_SECONDS, Load, ReplicaLoad, Work
from gptoss_operator.core.scaling.rates import Gains, known_since, quantile, rate
from gptoss_runtime.contract import Counter
from gptoss_runtime.gateway_contract import GatewayGauge


MINUTE: Final = 60.0
LONG_SECONDS: Final = 300.0
WORK_SECONDS: Final = 600.0
"""Of how long ago work still counts."""
TTFT_SECONDS: Final = 120.0
"""The same for times to the first token."""
TTFT_SHARE: Final = 0.95
MS: Final = 0.001


def load_of(
    gateways: Mapping[str, GatewayHistory],
    now: float,
    *,
    present: Collection[str],
    ready: Collection[str],
    first_tokens: Gains | None,
    work: Gains | None,
    active_at: float | None,
    replicas: Mapping[int, ReplicaLoad],
) -> Load:
    """Return what is known.

    `gateways` are the histories by the pods' uids, those of pods that are gone included, as their requests were asked
    for all the same. `present` are the pods that exist, and `ready` those that clients reach now: all of these must
    have been heard within `STALE_SECONDS`, or sums are not known. What waits is told although one of them is not known,
    as far as it is more than nothing: it may be more, but not less. `first_tokens` and `work` were counted within their
    time. `active_at` is when somebody else last showed a request, such as a replica.
    """
    heard = [gateways[uid] for uid in ready if uid in gateways]
    fresh = [history for uid, history in gateways.items() if uid in present and now - history.at <= STALE_SECONDS]
    is_complete = bool(ready) and len(heard) == len(ready) and all(now - h.at <= STALE_SECONDS for h in heard)
    end = min((history.at for history in heard), default=now)
    queued = _sum(fresh, GatewayGauge.QUEUED)
    held = _sum(fresh, GatewayGauge.HELD)
    oldest = max((h.state.gauges.get(GatewayGauge.OLDEST_HELD_SECONDS, 0.0) for h in fresh), default=0.0)
    p95 = quantile(_by_bound(first_tokens or {}), TTFT_SHARE)
    return Load(
        gateway_age_seconds=now - end if len(heard) == len(ready) and heard else None,
        arrivals_1m=_arrivals(gateways, end - MINUTE, end) if is_complete else None,
        arrivals_5m=_arrivals_long(gateways, end) if is_complete else None,
        arrivals_earlier=_arrivals(gateways, end - LONG_SECONDS - MINUTE, end - LONG_SECONDS) if is_complete else None,
        queued=queued if is_complete or queued else None,
        held=held if is_complete or held else None,
        oldest_wait_seconds=oldest if is_complete or oldest else None,
        in_flight=_sum(fresh, GatewayGauge.IN_FLIGHT) if is_complete else None,
        idle_seconds=_idle(gateways.values(), fresh, end, active_at) if is_complete else None,
        ttft_p95_seconds=p95 * MS if p95 is not None and is_complete else None,
        work=_work(work),
        replicas=replicas,
    )


def _sum(histories: Sequence[GatewayHistory], gauge: GatewayGauge) -> float | None:
    """Return the sum of a gauge. None: HAProxy did not answer one of them."""
    values = [history.state.gauges.get(gauge) for history in histories]
    known = [value for value in values if value is not None]
    total = math.fsum(known)
    return total if len(known) == len(values) or (total > 0 and gauge is not GatewayGauge.IN_FLIGHT) else None


def _by_bound(counts: Gains) -> dict[float, float]:
    """Return the counts by their bounds as numbers. What is no number is left out: a gateway may say what it likes."""
    found = {}
    for text, count in counts.items():
        with suppress(ValueError):
            found[float(text)] = count
    return {bound: count for bound, count in found.items() if not math.isnan(bound)}


def _arrivals(gateways: Mapping[str, GatewayHistory], begin: float, end: float) -> float | None:
    return rate((history.offered for history in gateways.values()), begin, end)


def _arrivals_long(gateways: Mapping[str, GatewayHistory], end: float) -> float | None:
    since = known_since(history.offered for history in gateways.values())
    begin = max(end - LONG_SECONDS, since)
    return _arrivals(gateways, begin, end) if end - begin > MINUTE else None


def _idle(
    every: Iterable[GatewayHistory], fresh: Sequence[GatewayHistory], end: float, active_at: float | None
) -> float:
    """Return for how long no request was seen by anybody, up to `end`.

    A gateway that is gone proves nothing by its silence, but what it last had to do counts.
    """
    if any(history.quiet_since is None for history in fresh):
        return 0.0
    moments = [history.quiet_since for history in fresh if history.quiet_since is not None]
    moments += [history.active_at for history in every if history.active_at is not None]
    return max(end - max([*moments, *([] if active_at is None else [active_at])]), 0.0)


def _work(sums: Gains | None) -> Work | None:
    if sums is None:
        return None
    return Work(
        requests=sums.get(Counter.REQUESTS_FINISHED, 0.0),
        prompt_tokens=sums.get(Counter.PROMPT_TOKENS, 0.0),
        generation_tokens=sums.get(Counter.GENERATION_TOKENS, 0.0),
    )
