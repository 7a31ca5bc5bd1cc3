"""Curves of cost and attainment: settings are chosen on some seeds, and judged on others."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Final

from e2e.bench.autoscaling.families import Family
from gptoss_operator.sim.contract import Result
from gptoss_operator.sim.report.recipes import Recipe
from gptoss_operator.sim.report.runs import Job, Told, run_all


BAR: Final = 0.99
"""Share of requests in time at which costs are compared."""
LEAST: Final = 0.93
"""Settings that reach less are of no use for that, unless none reaches more."""

Curves = dict[tuple[str, str], dict[str, list[Result]]]
"""Results by scenario and policy, then by setting."""
Plan = Mapping[tuple[Recipe, str], Family]


def measure(families: Iterable[tuple[Recipe, Family]], seeds: Sequence[int], told: Told) -> Curves:
    """Return the results of every setting with every seed."""
    jobs = [
        (family.name, setting, Job(recipe=recipe, policy=policy, seed=seed))
        for recipe, family in families
        for setting, policy in family.points.items()
        for seed in seeds
    ]
    # Those of one scenario follow each other, so that it is made once.
    jobs.sort(key=lambda entry: (entry[2].recipe.name, entry[2].seed))
    results = run_all([job for _, _, job in jobs], told)
    curves: Curves = {}
    for (name, setting, job), result in zip(jobs, results, strict=True):
        curves.setdefault((job.recipe.name, name), {}).setdefault(setting, []).append(result)
    return curves


def chosen(family: Family, curve: Mapping[str, Sequence[Result]], count: int) -> Family:
    """Return `family` with the `count` settings that cost least beside what the others reach the same with."""
    means = {
        setting: (fmean(result.attainment for result in results), fmean(result.cost for result in results))
        for setting, results in curve.items()
    }
    useful = {setting: point for setting, point in means.items() if point[0] >= LEAST} or means
    ordered = sorted(useful, key=lambda setting: (_excess(useful[setting], useful.values()), setting))
    kept = ordered[:count]
    if not any(useful[setting][0] >= BAR for setting in kept):
        # One beyond the bar, so that the curve crosses it if it can.
        kept[-1] = max(useful, key=lambda setting: (useful[setting][0], -useful[setting][1]))
    return Family(name=family.name, points={setting: family.points[setting] for setting in kept})


def _excess(point: tuple[float, float], others: Iterable[tuple[float, float]]) -> float:
    """Return how much dearer a point is than the cheapest mix of two that reaches as much."""
    reached, cost = point
    known = list(others)
    enough = [other for other in known if other[0] >= reached]
    mixed = [
        low_cost + (high_cost - low_cost) * (reached - low) / (high - low)
        for low, low_cost in known
        for high, high_cost in enough
        if low < reached < high
    ]
    return cost / min(*(other[1] for other in enough), *mixed, cost) - 1
