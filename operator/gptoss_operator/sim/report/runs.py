"""Many simulations on all cores, in the order in which they were asked for."""

import copy
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

from gptoss_operator.sim.contract import Policy, Result, Scenario
from gptoss_operator.sim.engine import simulate
from gptoss_operator.sim.report.recipes import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One simulation."""

    recipe: Recipe
    policy: Policy
    """Never asked itself: each simulation takes a copy."""
    seed: int
    group: str = ""
    """Which policy it is a point of."""
    detailed: bool = False
    """Whether points and the times of decisions are kept."""


Told = Callable[[int, int, Job, Result], None]
"""Told after each simulation: how many are done, of how many, which one, what came."""


def run_all(jobs: Sequence[Job], told: Told, *, workers: int | None = None) -> list[Result]:
    """Return the results in the order of `jobs`. `workers`: all cores unless given."""
    count = min(workers or os.cpu_count() or 1, len(jobs))
    if count <= 1:
        return _collected(jobs, map(run, jobs), told)
    with ProcessPoolExecutor(count) as pool:
        return _collected(jobs, pool.map(run, jobs), told)


def run(job: Job) -> Result:
    """Return what came of one simulation."""
    result = simulate(_scenario(job.recipe, job.seed), copy.deepcopy(job.policy), job.seed)
    return result if job.detailed else replace(result, decide_seconds=(), points=())


def told_on_stderr() -> Told:
    """Return what tells a person how far it is, with the time that is left."""
    began = time.monotonic()

    def tell(done: int, total: int, job: Job, result: Result) -> None:
        left = (time.monotonic() - began) / done * (total - done)
        sys.stderr.write(
            f"  {done}/{total}, {left:.0f} s left: {result.scenario}, {result.policy}, seed {job.seed}: "
            f"{result.attainment:.2%} in time, {result.cost:.2f} $\n"
        )
        sys.stderr.flush()

    return tell


def _collected(jobs: Sequence[Job], results: Iterable[Result], told: Told) -> list[Result]:
    collected: list[Result] = []
    for job, result in zip(jobs, results, strict=True):
        collected.append(result)
        told(len(collected), len(jobs), job, result)
    return collected


class _Kept:
    """The last scenario: jobs that follow each other mostly share theirs."""

    recipe: Recipe | None = None
    seed = 0
    scenario: Scenario


def _scenario(recipe: Recipe, seed: int) -> Scenario:
    if (_Kept.recipe, _Kept.seed) != (recipe, seed):
        _Kept.recipe, _Kept.seed, _Kept.scenario = recipe, seed, recipe.scenario(seed)
    return _Kept.scenario
