"""From results to bars. Pure.

A value that is compared between policies is the unfavourable end of its 95 % interval over paired seeds, so that a bar
is met only if the interval excludes less.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from e2e.bench.autoscaling.curves import BAR, Curves
from e2e.bench.autoscaling.families import ON_DEMAND, OURS, OURS_ON_DEMAND, SPOTHEDGE, STATIC
from e2e.bench.autoscaling.special import BLACKOUT, DAY, IDLE, LEAK, NOTICE, REPLAY, SPEED, ZONE_LOSS, worst
from e2e.bench.autoscaling.world import PRICES
from e2e.bench.bars import Bar, Op
from e2e.bench.rows import Row
from gptoss_operator.core.placement.places import CapacityType, Place
from gptoss_operator.sim.contract import Result
from gptoss_operator.sim.report.compare import (
    Curve,
    NotComparable,
    mean_interval,
    paired,
    saving,
    saving_as_they_are,
)


STATIC_SAVED, HEDGE_SAVED, HEDGE_DEARER, ON_DEMAND_SAVED, POINTS = 55.0, 8.0, -1.0, 25.0, 10.0
LATER_SECONDS = 1.0
MEDIUM, CALM, HARSH, FIXED = "medium (synthetic)", "calm (synthetic)", "harsh (synthetic)", "on demand"
RECORDED, RECORDED_FIXED = "recorded", "recorded, on demand"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A bar, and what one has to know to read it."""

    bar: Bar
    note: str = ""


def judge(curves: Curves, rows: Sequence[Row]) -> list[Finding]:
    """Return every bar."""
    return [
        *_beside_static(curves, MEDIUM, FIXED),
        *_beside_static(curves, RECORDED, RECORDED_FIXED),
        _saved(curves, (MEDIUM, OURS), (MEDIUM, SPOTHEDGE), "cheaper than SpotHedge, medium", HEDGE_SAVED),
        _saved(curves, (CALM, OURS), (CALM, SPOTHEDGE), "cheaper than SpotHedge, calm", HEDGE_DEARER),
        _saved(curves, (HARSH, OURS), (HARSH, SPOTHEDGE), "cheaper than SpotHedge, harsh", HEDGE_DEARER),
        *_actions(curves),
        *(_beside_on_demand(curves, name) for name in ON_DEMAND),
        *_special(rows),
    ]


def at_the_bar(curve: Curve) -> Sequence[Result]:
    """Return the results of the cheapest setting that reaches the bar, else of the one that reaches most."""
    means = {
        setting: (fmean(result.attainment for result in results), fmean(result.cost for result in results))
        for setting, results in curve.items()
    }
    enough = [setting for setting, (reached, _) in means.items() if reached >= BAR]
    best = min(enough, key=lambda setting: means[setting][1]) if enough else max(means, key=lambda s: means[s][0])
    return curve[best]


def _beside_static(curves: Curves, ours: str, fixed: str) -> list[Finding]:
    """Return the bars beside the smallest fleet of fixed size that reaches the bar."""
    label = ours.split(" ", 1)[0]

    def saved() -> tuple[float, str]:
        return _saving(curves[ours, OURS], smallest())

    def saved_as_they_are() -> tuple[float, str]:
        mine, others = chosen(), smallest()
        found = saving_as_they_are(mine, others)
        reached = [fmean(result.attainment for result in results) for results in (mine, others)]
        return 100 * found.low, f"{found.text(100)}; {mine[0].policy} has {reached[0]:.2%}, the fleet {reached[1]:.2%}"

    def later() -> tuple[float, str]:
        mine, others = chosen(), smallest()
        value = _mean_p99(mine) - _mean_p99(others)
        return value, f"{mine[0].policy} beside {others[0].policy}, means over seeds"

    def chosen() -> Sequence[Result]:
        """Return the cheapest setting at the bar, of those whose p99 is good enough if there are any."""
        curve, latest = curves[ours, OURS], _mean_p99(smallest()) + LATER_SECONDS
        return at_the_bar({s: results for s, results in curve.items() if _mean_p99(results) <= latest} or curve)

    def smallest() -> Sequence[Result]:
        found = at_the_bar(curves[fixed, STATIC])
        reached = fmean(result.attainment for result in found)
        if reached < BAR:
            raise NotComparable(f"no fleet of fixed size reaches {BAR:.0%}, {found[0].policy} has {reached:.2%}")
        return found

    return [
        _found(f"cheaper than static, {label}", saved, "%", Op.AT_LEAST, STATIC_SAVED),
        _found(f"the same, each at {BAR:.0%} or more, {label}", saved_as_they_are, "%", Op.AT_LEAST, STATIC_SAVED),
        _found(f"p99 of TTFT beyond static's, {label}", later, "s", Op.AT_MOST, LATER_SECONDS),
    ]


def _saved(curves: Curves, mine: tuple[str, str], other: tuple[str, str], name: str, bar: float) -> Finding:
    """Return how much is saved at the attainment of the other's setting at the bar, or of its best one."""
    return _found(name, lambda: _saving(curves[mine], at_the_bar(curves[other])), "%", Op.AT_LEAST, bar)


def _saving(curve: Curve, other: Sequence[Result]) -> tuple[float, str]:
    found = saving(curve, other)
    note = (
        f"{found.saved.text(100)} at {found.attainment:.2%}: {found.cost:.0f} $, "
        f"{other[0].policy} {found.other_cost:.0f} $"
    )
    return 100 * found.saved.low, note


def _actions(curves: Curves) -> list[Finding]:
    """Return how many actions we take, beside SpotHedge's, at the settings that reach the bar for least."""

    def share() -> tuple[float, str]:
        mine, others = at_the_bar(curves[MEDIUM, OURS]), at_the_bar(curves[MEDIUM, SPOTHEDGE])
        paired({"ours": mine}, {"others": others})
        pairs = zip(_by_seed(mine), _by_seed(others), strict=True)
        found = mean_interval([a.actions / max(1, b.actions) for a, b in pairs])
        return found.high, f"{found.text()}; {mine[0].policy} beside {others[0].policy}"

    def reversals() -> tuple[float, str]:
        mine = at_the_bar(curves[MEDIUM, OURS])
        found = mean_interval([float(result.reversals) for result in mine])
        return found.high, f"{found.text()}; {mine[0].policy}"

    return [
        _found("actions, beside SpotHedge's", share, "x", Op.AT_MOST, 0.2),
        _found("reversals within 10 minutes", reversals, "a day", Op.AT_MOST, 2.0),
    ]


def _beside_on_demand(curves: Curves, name: str) -> Finding:
    """Return whether ours on demand beats one of them: by a quarter of the cost, or by ten points of attainment."""
    if (FIXED, name) not in curves:
        return _found(f"cheaper than {name}, all on demand", lambda: (0.0, ""), "%", Op.AT_LEAST, 0.0, run=False)
    ours, other = curves[FIXED, OURS_ON_DEMAND], curves[FIXED, name]
    reached = max(fmean(result.attainment for result in results) for results in other.values())
    if reached <= BAR - POINTS / 100:
        best = at_the_bar(other)
        return _found(
            f"attainment beyond that of {name}, all on demand", lambda: _points(at_the_bar(ours), best), "points",
            Op.AT_LEAST, POINTS,
        )  # fmt: skip
    mine, theirs = (FIXED, OURS_ON_DEMAND), (FIXED, name)
    return _saved(curves, mine, theirs, f"cheaper than {name}, all on demand", ON_DEMAND_SAVED)


def _points(mine: Sequence[Result], others: Sequence[Result]) -> tuple[float, str]:
    pairs = zip(_by_seed(mine), _by_seed(others), strict=True)
    found = mean_interval([100 * (a.attainment - b.attainment) for a, b in pairs])
    costs = [fmean(result.cost for result in results) for results in (mine, others)]
    return found.low, f"{found.text()}; {costs[0]:.0f} $ and {costs[1]:.0f} $"


def _special(rows: Sequence[Row]) -> list[Finding]:
    one = 24 * (PRICES.known(Place(capacity=CapacityType.ON_DEMAND)) or 0.0)
    idle = worst(rows, IDLE, "cost")
    return [
        _plain("broken off with 120 s of notice", worst(rows, f"{NOTICE} 120 s", "lost"), "requests", 0.0),
        _plain("broken off with 30 s of notice", worst(rows, f"{NOTICE} 30 s", "lost"), "requests", 0.0),
        _plain("broken off without notice", _percent(worst(rows, f"{NOTICE} 0 s", "lost_share")), "%", 0.01),
        _plain("zone lost: back beyond p90 of a cold start", worst(rows, ZONE_LOSS, "beyond_seconds"), "s", 60.0),
        _plain("blackout: scale-downs", worst(rows, BLACKOUT, "scale_downs_blind"), "", 0.0),
        Finding(
            bar=Bar(
                name="idle-heavy: cheaper than one on demand",
                value=None if idle is None else 100 * (1 - idle / one),
                unit="%", op=Op.AT_LEAST, bar=80.0,
            )
        ),
        _plain("idle-heavy: held requests that were lost", worst(rows, IDLE, "held_lost"), "requests", 0.0),
        _plain("decisions with 64 replicas, CPU, p99", worst(rows, SPEED, "p99_ms"), "ms", 5.0),
        _plain("replay: differences", worst(rows, REPLAY, "different"), "", 0.0),
        _plain("leak of the future: differences", worst(rows, LEAK, "different"), "", 0.0),
        _plain("two million requests: CPU", worst(rows, DAY, "cpu_seconds_of_2m"), "s", 60.0),
    ]  # fmt: skip


def _plain(name: str, value: float | None, unit: str, bar: float) -> Finding:
    return Finding(
        bar=Bar(name=name, value=value, unit=unit, op=Op.AT_MOST, bar=bar), note="worst seed" if value else ""
    )


def _found(
    name: str, measured: Callable[[], tuple[float, str]], unit: str, op: Op, bar: float, *, run: bool = True
) -> Finding:
    """Return the bar, with no value where nothing may be said."""
    value: float | None = None
    try:
        value, note = measured() if run else (None, "not run")
    except NotComparable as error:
        note = str(error)
    except KeyError:
        note = "not run"
    return Finding(bar=Bar(name=name, value=value, unit=unit, op=op, bar=bar), note=note)


def _mean_p99(results: Sequence[Result]) -> float:
    return fmean(result.ttft_p99 for result in results)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _by_seed(results: Sequence[Result]) -> list[Result]:
    return sorted(results, key=lambda result: result.seed)


def rows_of(curves: Curves) -> list[Row]:
    """Return every result as a row of the JSON."""
    return [
        Row(item=scenario, subject=f"{family}: {setting}", round=result.seed, values=_numbers(result))
        for (scenario, family), curve in curves.items()
        for setting, results in curve.items()
        for result in results
    ]


def _numbers(result: Result) -> dict[str, float]:
    kept: Mapping[str, float] = {
        "cost": result.cost,
        "attainment": result.attainment,
        "ttft_p99_s": result.ttft_p99,
        "failed": result.failed,
        "lost": result.lost,
        "retried": result.retried,
        "actions": result.actions,
        "reversals": result.reversals,
        "spot_hours": result.spot_hours,
        "on_demand_hours": result.on_demand_hours,
        "unready_hours": result.unready_hours,
        "interruptions": result.interruptions,
    }
    return {name: round(value, 6) for name, value in kept.items()}
