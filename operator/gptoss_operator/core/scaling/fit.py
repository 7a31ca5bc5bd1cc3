"""What a replica does in a second, learnt from what replicas say.

The time of one token grows with the requests that run: `ITL(n) = a + b * n`, as in the performance model of llm-d's
Workload Variant Autoscaler. What is measured holds the slowdown by prompts already, so these have no term of their own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from gptoss_operator.core.scaling.load import ReplicaLoad, Work, known


HALF_LIFE_SECONDS: Final = 3600.0
"""After which time of new samples an older one counts half."""
SHAPE_REQUESTS: Final = 80.0
"""`a / b` where samples do not tell: 8 ms and 0.1 ms, for gpt-oss-120b on two H100 (43 ms at 329 requests)."""
SPREAD_REQUESTS: Final = 5.0
"""Standard deviation of `n` among the samples at which they count as much as `SHAPE_REQUESTS`."""
OUTLIER: Final = 3.0
"""A sample counts as at most this many times what was expected, and at least one part in as many: a replica that has
just got its requests has made few tokens in the time before."""
ITL_BOUNDS: Final = (1e-4, 10.0)
"""Seconds per token that are believed."""
LEAST_REQUESTS: Final = 50.0
"""Ended requests from which their mean says something (for a spread as wide as the mean: within 14 %)."""
LEAST_WEIGHT: Final = 12.0
"""Samples from which a known cost of a request may be replaced by a new one."""
KV_SHARE: Final = 0.85
"""Share of the key-value cache that may be counted on: beyond it vLLM soon has to compute requests again."""
ITL_FLOOR: Final = 1.25
"""A wish below this many times the time of a lone request cannot be bought with replicas and counts as that."""
MOST_REQUESTS: Final = 1e6
"""Requests at once that are believed of one replica."""
REQUEST_BOUNDS: Final = (1e-6, 1e5)
"""Replica-seconds of a request that are believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Decayed sums over samples of (requests that run, seconds per token of each of them)."""

    weight: float = 0.0
    n: float = 0.0
    nn: float = 0.0
    itl: float = 0.0
    n_itl: float = 0.0
    replica_seconds: float | None = None
    """Replica-seconds per request, as last known."""
    at_once: float | None = None
    """Requests at once that a replica is counted on for, as last known."""
    max_num_seqs: float | None = None
    """Requests that a replica may run at once, as last known."""


class Line(NamedTuple):
    """Seconds per token: `base + slope * n`."""

    base: float
    slope: float

    def at(self, n: float) -> float:
        """Return the seconds per token where `n` requests run."""
        return self.base + self.slope * n


def line(fit: Fit) -> Line | None:
    """Return the least-squares line, None without samples.

    The slope is drawn to the one of `SHAPE_REQUESTS` through the mean (ridge regression), the more so the less the
    samples differ in `n`. Neither the base nor the slope is negative.
    """
    if fit.weight <= 0:
        return None
    n, itl = fit.n / fit.weight, fit.itl / fit.weight
    spread = max(0.0, fit.nn / fit.weight - n * n)
    together = fit.n_itl / fit.weight - n * itl
    ridge = SPREAD_REQUESTS**2
    slope = (together + ridge * itl / (SHAPE_REQUESTS + n)) / (spread + ridge)
    slope = min(max(slope, 0.0), 0.95 * itl / n)
    return Line(itl - slope * n, slope)


def learn(fit: Fit, replicas: Iterable[ReplicaLoad], work: Work | None, *, itl_seconds: float, elapsed: float) -> Fit:
    """Return `fit` with what `replicas` and `work` say, `elapsed` seconds after the last time.

    What cannot be known now stays as it was last known.
    """
    weight, n_sum, nn_sum, itl_sum, n_itl_sum = fit.weight, fit.n, fit.nn, fit.itl, fit.n_itl
    expected = line(fit)
    decayed = False
    most: list[float] = []
    tokens: list[float] = []
    for replica in replicas:
        if (most_here := known(replica.max_num_seqs)) is not None and most_here >= 1:
            most.append(min(most_here, MOST_REQUESTS))
        if (tokens_here := known(replica.kv_tokens)) is not None and tokens_here >= 1:
            tokens.append(tokens_here)
        n, speed = known(replica.running), known(replica.tokens_per_second)
        if n is None or speed is None or n < 1 or speed <= 0 or n > MOST_REQUESTS:
            continue
        itl = min(max(n / speed, ITL_BOUNDS[0]), ITL_BOUNDS[1])
        if expected is not None:
            usual = expected.at(n)
            itl = min(max(itl, usual / OUTLIER), usual * OUTLIER)
        if not decayed:
            decayed = True
            decay = 0.5 ** (max(0.0, elapsed) / HALF_LIFE_SECONDS)
            weight, n_sum, nn_sum = weight * decay, n_sum * decay, nn_sum * decay
            itl_sum, n_itl_sum = itl_sum * decay, n_itl_sum * decay
        weight += 1
        n_sum += n
        nn_sum += n * n
        itl_sum += itl
        n_itl_sum += n * itl
    learnt = replace(
        fit,
        weight=weight,
        n=n_sum,
        nn=nn_sum,
        itl=itl_sum,
        n_itl=n_itl_sum,
        max_num_seqs=sum(most) / len(most) if most else fit.max_num_seqs,
    )
    return _costed(learnt, work, kv_tokens=sum(tokens) / len(tokens) if tokens else None, itl_seconds=itl_seconds)


def _costed(fit: Fit, work: Work | None, *, kv_tokens: float | None, itl_seconds: float) -> Fit:
    """Return `fit` with the cost of a request, as far as it can be told now."""
    found = line(fit)
    if found is None or fit.max_num_seqs is None:
        return fit
    at_once = min(fit.max_num_seqs, _within(found, itl_seconds))
    lengths = mean_lengths(work)
    if lengths is None or kv_tokens is None:
        return fit if fit.replica_seconds is not None else replace(fit, at_once=max(1.0, at_once))
    prompt, generation = lengths
    at_once = max(1.0, min(at_once, KV_SHARE * kv_tokens / (prompt + generation / 2)))
    if fit.replica_seconds is not None and fit.weight < LEAST_WEIGHT:
        return fit if fit.at_once is not None else replace(fit, at_once=at_once)
    seconds = generation * found.at(at_once) / at_once
    return replace(fit, replica_seconds=min(max(seconds, REQUEST_BOUNDS[0]), REQUEST_BOUNDS[1]), at_once=at_once)


def mean_lengths(work: Work | None) -> tuple[float, float] | None:
    """Return mean tokens of prompts and answers, None where too few requests have ended to tell."""
    if work is None:
        return None
    requests = known(work.requests)
    prompts, generations = known(work.prompt_tokens), known(work.generation_tokens)
    if requests is None or prompts is None or generations is None or requests < LEAST_REQUESTS:
        return None
    return prompts / requests, max(1.0, generations / requests)


def _within(found: Line, itl_seconds: float) -> float:
    """Return how many requests at once keep the wished time per token."""
    wish = max(itl_seconds, ITL_FLOOR * found.at(1))
    return (wish - found.base) / found.slope if found.slope > 0 else float("inf")
