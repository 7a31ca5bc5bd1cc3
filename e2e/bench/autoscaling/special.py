"""What is not a matter of curves: losses, outages, blackouts, idle days, replay, leaks, speed."""

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from statistics import quantiles

from e2e.bench.autoscaling.families import ours
from e2e.bench.autoscaling.watched import Watched, recovery
from e2e.bench.autoscaling.world import NOTICES, World
from e2e.bench.rows import Row
from gptoss_operator.core.scaling.policy import ScalingPolicy
from gptoss_operator.sim.contract import Market, Result, Scenario, ZoneChange
from gptoss_operator.sim.engine import simulate
from gptoss_operator.sim.market import MarketKind
from gptoss_operator.sim.report.document import results_json
from gptoss_operator.sim.report.recipes import Recipe
from gptoss_operator.sim.report.runs import Job, Told, run_all
from gptoss_operator.sim.traffic import Traffic


NOTICE, IDLE, BLACKOUT, ZONE_LOSS, SPEED, LEAK, REPLAY, DAY = (
    "notice", "idle", "blackout", "zone loss", "decide", "leak", "replay", "two million",
)  # fmt: skip
US = "ours"


def measure_days(world: World, told: Told) -> list[Row]:
    """Return a row for each seed of the days with something special."""
    recipes = {f"{NOTICE} {seconds:.0f} s": world.announced(seconds) for seconds in NOTICES}
    recipes |= {BLACKOUT: world.blackout()}
    jobs = [
        (item, Job(recipe=recipe, policy=ours(), seed=seed))
        for item, recipe in recipes.items()
        for seed in world.evaluation
    ]
    jobs += [(IDLE, Job(recipe=world.idle(), policy=ours(least=0), seed=seed)) for seed in world.evaluation]
    results = run_all([job for _, job in jobs], told)
    return [
        Row(item=item, subject=US, round=job.seed, values=_values(result))
        for (item, job), result in zip(jobs, results, strict=True)
    ] + _zone_losses(world)


def measure_once(world: World) -> list[Row]:
    """Return what one run of each says: replay, leak, speed."""
    rows = [
        Row(item=REPLAY, subject=US, round=1, values={"different": float(not _replays(world))}),
        Row(item=LEAK, subject=US, round=1, values={"different": float(_leaks(world))}),
        Row(item=SPEED, subject=US, round=1, values={"p99_ms": 1000 * _decide_p99(world)}),
    ]
    if world.day_of_two_million:
        rows.append(Row(item=DAY, subject=US, round=1, values=_two_million(world)))
    return rows


def _values(result: Result) -> dict[str, float]:
    return {
        "requests": result.requests,
        "lost": result.lost,
        "lost_share": result.lost / max(1, result.requests),
        "held_lost": result.held_lost,
        "cost": result.cost,
        "attainment": result.attainment,
        "interruptions": result.interruptions,
        "scale_downs_blind": result.notes.get("scale_downs_in_blackouts", 0.0),
        "reversals": result.reversals,
        "wake_seconds": max(result.wakes, default=0.0),
    }


def _zone_losses(world: World) -> list[Row]:
    recipe = world.zone_loss()
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(_zone_loss, [(recipe, seed, world.peak_time) for seed in world.evaluation]))
    return [
        Row(
            item=ZONE_LOSS,
            subject=US,
            round=seed,
            values={"recovery_seconds": seconds, "cold_p90_seconds": p90, "beyond_seconds": seconds - p90},
        )
        for seed, (seconds, p90) in zip(world.evaluation, found, strict=True)
    ]


def _zone_loss(given: tuple[Recipe, int, float]) -> tuple[float, float]:
    recipe, seed, lost_at = given
    # What comes an hour later is of no interest.
    recipe = replace(recipe, duration=min(recipe.duration, lost_at + 3600))
    policy = Watched(policy=ours())
    simulate(recipe.scenario(seed), policy, seed)
    return recovery(policy.notes, lost_at)


def _replays(world: World) -> bool:
    scenario = _short(world).scenario(1)
    first, second = (results_json({}, [simulate(scenario, ours(), 1)]) for _ in range(2))
    return first == second


def _leaks(world: World) -> bool:
    """Return whether a decision before some moment depends on what comes after it."""
    recipe = _short(world)
    middle = recipe.duration / 2
    scenario = recipe.scenario(1)
    noted = []
    for one in (scenario, _changed_after(scenario, middle)):
        policy = Watched(policy=ours())
        simulate(one, policy, 1)
        noted.append([replace(note, cpu_seconds=0.0) for note in policy.notes if note.at < middle])
    return noted[0] != noted[1]


def _changed_after(scenario: Scenario, moment: float) -> Scenario:
    """Return another future: no requests, no machines, from `moment` on."""
    market: Market = scenario.market
    kept = tuple(change for change in market.changes if change.at < moment)
    gone = tuple(ZoneChange(at=moment, zone=zone, machines=0) for zone in market.zones)
    requests = Traffic(
        (request.at, request.prompt_tokens, request.generation_tokens)
        for request in scenario.requests
        if request.at < moment
    )
    return replace(scenario, requests=requests, market=replace(market, changes=kept + gone))


def _short(world: World) -> Recipe:
    return replace(world.day(MarketKind.HARSH), duration=4 * 3600.0)


def _decide_p99(world: World) -> float:
    """Return the CPU time that the 99th of a hundred decisions takes with 64 replicas, in seconds."""
    recipe = replace(world.day(MarketKind.HARSH), duration=2 * 3600.0)
    policy = ours()
    policy.scaling = ScalingPolicy(min_replicas=64, max_replicas=64)
    policy.interval_seconds = 2.0
    watched = Watched(policy=policy)
    simulate(recipe.scenario(1), watched, 1)
    return quantiles([note.cpu_seconds for note in watched.notes], n=100)[-1]


def _two_million(world: World) -> dict[str, float]:
    recipe = world.two_million()
    scenario = recipe.scenario(1)
    policy = ours()
    policy.interval_seconds = 5.0
    wall, began = time.monotonic(), time.process_time()
    result = simulate(scenario, policy, 1)
    return {
        "requests": result.requests,
        "cpu_seconds": time.process_time() - began,
        "wall_seconds": time.monotonic() - wall,
        "cpu_seconds_of_2m": (time.process_time() - began) / max(1, result.requests) * 2e6,
    }


def worst(rows: Sequence[Row], item: str, name: str) -> float | None:
    """Return the greatest value of an item over all seeds, None where it was not measured."""
    return max((row.values[name] for row in rows if row.item == item and name in row.values), default=None)
