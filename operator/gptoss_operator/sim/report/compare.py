"""Comparisons of costs: at equal attainment, over paired seeds, with an interval, or not at all.

A policy is a curve: one point for each setting of its knobs, each the mean over the same seeds. Its cost at an
attainment is that of the cheapest mix of two of its points that reaches it: the lower hull of the curve. The interval
is that of the delete-one jackknife over seeds (Efron, 1982) with Student's quantile.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev
from typing import Final

from gptoss_operator.sim.contract import Result


LEAST_SEEDS: Final = 10
"""Fewer say nothing about the next day."""
CONFIDENCE: Final = 0.95

Curve = Mapping[str, Sequence[Result]]
"""Results by the setting of the knobs, each with the same seeds."""


class NotComparable(ValueError):
    """Nothing may be said about which is cheaper. The message says why, and what would be needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean over seeds with its 95 % interval."""

    value: float
    low: float
    high: float
    seeds: int

    def text(self, scale: float = 1.0, unit: str = "") -> str:
        """Return it for a person, times `scale`."""
        low, value, high = (f"{number * scale:.3g}" for number in (self.low, self.value, self.high))
        return f"{value}{unit} [{low}, {high}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What one costs beside another at the same attainment."""

    attainment: float
    cost: float
    other_cost: float
    saved: Interval
    """Share of the other's cost that is saved; below zero: dearer."""


def saving(curve: Curve, other: Sequence[Result]) -> Comparison:
    """Return how much cheaper `curve` is than one setting of another policy where it reaches as much as that does.

    The attainment is the other's over the same seeds, also for the interval: a day that is hard for both says nothing
    about which is cheaper. Raises NotComparable when the seeds are not the same, too few, or it is never reached.
    """
    seeds = paired(curve, {"other": other})

    def costs(chosen: frozenset[int]) -> tuple[float, float, float]:
        attainment, other_cost = _mean_point(other, chosen)
        return attainment, cost_at(curve, attainment, chosen), other_cost

    def saved(chosen: frozenset[int]) -> float:
        _, cost, other_cost = costs(chosen)
        return 1 - cost / other_cost

    attainment, cost, other_cost = costs(seeds)
    return Comparison(attainment=attainment, cost=cost, other_cost=other_cost, saved=jackknife(saved, seeds))


def saving_as_they_are(mine: Sequence[Result], other: Sequence[Result]) -> Interval:
    """Return the share of the other's cost that is saved, whatever each of them reaches. Raises NotComparable."""
    seeds = paired({"mine": mine}, {"other": other})

    def saved(chosen: frozenset[int]) -> float:
        return 1 - _mean_point(mine, chosen)[1] / _mean_point(other, chosen)[1]

    return jackknife(saved, seeds)


def paired(*curves: Curve) -> frozenset[int]:
    """Return the seeds that every point of all `curves` has. Raises NotComparable when some differ or are too few."""
    sets = {frozenset(result.seed for result in results) for curve in curves for results in curve.values()}
    if len(sets) != 1:
        raise NotComparable(f"points were run with {len(sets)} different sets of seeds; run all with the same")
    (seeds,) = sets
    if len(seeds) < LEAST_SEEDS:
        raise NotComparable(f"{len(seeds)} seeds say too little; run at least {LEAST_SEEDS}")
    return seeds


def cost_at(curve: Curve, attainment: float, seeds: frozenset[int]) -> float:
    """Return the mean cost of the cheapest mix of two points that reaches `attainment`.

    Raises NotComparable when no point reaches it.
    """
    points = [_mean_point(results, seeds) for results in curve.values()]
    enough = [point for point in points if point[0] >= attainment]
    if not enough:
        best = max((point[0] for point in points), default=0.0)
        raise NotComparable(
            f"attainment {attainment:.2%} is not reached, at most {best:.2%}; compare at less, or add points"
        )
    short = [point for point in points if point[0] < attainment]
    mixed = (
        low_cost + (high_cost - low_cost) * (attainment - low) / (high - low)
        for low, low_cost in short
        for high, high_cost in enough
    )
    return min(*(cost for _, cost in enough), min(mixed, default=math.inf))


def jackknife(statistic: Callable[[frozenset[int]], float], seeds: frozenset[int]) -> Interval:
    """Return `statistic` of all `seeds` with the interval that leaving each of them out gives."""
    count, whole = len(seeds), statistic(seeds)
    pseudo = [count * whole - (count - 1) * statistic(seeds - {seed}) for seed in sorted(seeds)]
    half = student(count - 1) * stdev(pseudo) / math.sqrt(count)
    return Interval(value=whole, low=whole - half, high=whole + half, seeds=count)


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of one value for each seed, with its interval. Raises NotComparable for too few."""
    if len(values) < LEAST_SEEDS:
        raise NotComparable(f"{len(values)} seeds say too little; run at least {LEAST_SEEDS}")
    middle = fmean(values)
    half = student(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Interval(value=middle, low=middle - half, high=middle + half, seeds=len(values))


def student(degrees: int) -> float:
    """Return Student's two-sided quantile for `CONFIDENCE` (Abramowitz and Stegun 26.7.5), to 0.001 from 8 on."""
    z: float = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return math.fsum(term / float(degrees) ** power for power, term in enumerate(terms))


def _mean_point(results: Sequence[Result], seeds: frozenset[int]) -> tuple[float, float]:
    chosen = [result for result in results if result.seed in seeds]
    return fmean(result.attainment for result in chosen), fmean(result.cost for result in chosen)
