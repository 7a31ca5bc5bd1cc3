"""Compare our scaling with other autoscalers in the simulator, print the bars, write build/bench/autoscaling.json.

python -m e2e.bench.autoscaling [--quick] [--requests FILE --spot FILE...]
"""

import argparse
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from e2e.bench.autoscaling.curves import Curves, chosen, measure
from e2e.bench.autoscaling.families import (
    OURS,
    SPOTHEDGE,
    Family,
    on_demand_grids,
    our_curve,
    our_curve_on_demand,
    spothedge_grid,
    static_curve,
)
from e2e.bench.autoscaling.judge import Finding, judge, rows_of
from e2e.bench.autoscaling.special import measure_days, measure_once
from e2e.bench.autoscaling.world import REPLICA, World, quick
from e2e.bench.bars import shown, table
from e2e.bench.result import write_result
from e2e.bench.rows import Row
from e2e.progress import say, step
from gptoss_operator.errors import GptOssError
from gptoss_operator.sim.policies.sizing import sizing_of
from gptoss_operator.sim.report.document import page
from gptoss_operator.sim.report.plots import label_of, pareto
from gptoss_operator.sim.report.recipes import Recipe
from gptoss_operator.sim.report.runs import Told, told_on_stderr
from gptoss_operator.sim.report.table import results_table


RESULT = Path("build/bench/autoscaling.json")
PAGE = Path("build/bench/autoscaling.html")
KEPT, KEPT_ON_DEMAND = 5, 3
"""Settings that are evaluated, of those that were tried."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when everything could be simulated, met or missed; 1 when not, with the reason on standard error."""
    options = _parser().parse_args(arguments)
    began = time.monotonic()
    spot = tuple(options.spot)
    world = quick(options.requests, spot) if options.quick else World(requests=options.requests, spot=spot)
    try:
        curves, rows = run(world)
    except GptOssError as error:
        print(f"the bench stopped: {error}", file=sys.stderr)
        return 1
    findings = judge(curves, rows)
    print(f"\n{_tables(curves)}\n\n{_bars(findings)}\n\nEverything is SIMULATED, on SYNTHETIC traffic and markets but")
    print(f"for the recorded ones. {time.monotonic() - began:.0f} s; all of it: {RESULT}, {PAGE}")
    write(world, curves, rows, findings)
    return 0


def run(world: World) -> tuple[Curves, list[Row]]:
    """Return the curves of the evaluation and the rows of the rest. Raises GptOssError for files that are no use."""
    fixed = world.day(None)
    sizing = sizing_of(REPLICA, fixed.scenario(world.tuning[0]).requests)
    say(
        f"a replica serves {sizing.requests_per_second:.2f} requests/s, the busiest 5 minutes have {sizing.busiest:.1f}"
    )
    told = told_on_stderr
    with step("choosing settings"):
        plan = _plan(world, _tried(world, fixed, (spothedge_grid(sizing), on_demand_grids(sizing))), told())
    plan.append((fixed, static_curve(sizing)))
    plan += _recorded(world, plan[0][1])
    with step("curves"):
        curves = measure(plan, world.evaluation, told())
    with step("notices, outages, blackouts, idle days"):
        rows = measure_days(world, told())
    with step("replay, leaks, speed"):
        rows += measure_once(world)
    return curves, rows


def _tried(world: World, fixed: Recipe, grids: tuple[Family, Sequence[Family]]) -> list[tuple[Recipe, Family]]:
    """Return every setting that is tried."""
    spothedge, on_demand = grids
    tried = [(world.day(market), family) for market in world.markets for family in (our_curve(), spothedge)]
    return tried + [(fixed, family) for family in (our_curve_on_demand(), *on_demand)]


def _plan(world: World, tried: Sequence[tuple[Recipe, Family]], told: Told) -> list[tuple[Recipe, Family]]:
    """Return the settings that are evaluated: those that did best on other seeds."""
    curves = measure(tried, world.tuning, told)
    return [
        (
            recipe,
            chosen(
                family,
                curves[recipe.name, family.name],
                KEPT if family.name in {OURS, SPOTHEDGE} else KEPT_ON_DEMAND,
            ),
        )
        for recipe, family in tried
    ]


def _recorded(world: World, ours: Family) -> list[tuple[Recipe, Family]]:
    on_spot, fixed = world.recorded(on_spot=True), world.recorded(on_spot=False)
    if on_spot is None or fixed is None:
        return []
    sizing = sizing_of(REPLICA, fixed.scenario(world.tuning[0]).requests)
    return [(on_spot, ours), (fixed, static_curve(sizing))]


def _tables(curves: Curves) -> str:
    parts = []
    for scenario in dict.fromkeys(scenario for scenario, _ in curves):
        groups = [
            (f"{family}: {setting}", results)
            for (name, family), curve in curves.items()
            if name == scenario
            for setting, results in curve.items()
        ]
        label = label_of([result for _, results in groups for result in results])
        parts.append(f"{scenario}: {label}, means over {len(groups[0][1])} seeds\n\n{results_table(groups)}")
    return "\n\n".join(parts)


def _bars(findings: Sequence[Finding]) -> str:
    rows = [
        (
            finding.bar.name,
            shown(finding.bar.value),
            finding.bar.unit,
            f"{finding.bar.op} {shown(finding.bar.bar)}",
            "not measured" if finding.bar.value is None else "met" if finding.bar.met else "MISSED",
            finding.note,
        )
        for finding in findings
    ]
    return table(("bar (worst end of the interval)", "value", "unit", "wanted", "", "what was measured"), rows)


def write(world: World, curves: Curves, rows: Sequence[Row], findings: Sequence[Finding]) -> None:
    """Write everything as JSON, and the curves as pictures."""
    facts = {
        "simulated": "everything; traffic and markets are SYNTHETIC but for the recorded ones",
        "tuning_seeds": ", ".join(map(str, world.tuning)),
        "evaluation_seeds": ", ".join(map(str, world.evaluation)),
        **{f"bar: {finding.bar.name}": finding.note for finding in findings},
    }
    write_result(
        RESULT,
        "autoscaling",
        versions={"gptoss-operator": metadata.version("gptoss-operator")},
        facts=facts,
        bars=[finding.bar for finding in findings],
        rows=[*rows_of(curves), *rows],
    )
    scenarios = dict.fromkeys(scenario for scenario, _ in curves)
    pictures = [
        pareto({family: curve for (name, family), curve in curves.items() if name == scenario}, f"Cost, {scenario}")
        for scenario in scenarios
    ]
    label = label_of([result for curve in curves.values() for results in curve.values() for result in results])
    PAGE.write_text(page("Autoscaling, simulated", label, [_bars(findings), _tables(curves)], pictures))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.bench.autoscaling", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="few short runs, to see that it runs")
    parser.add_argument("--requests", type=Path, metavar="FILE", help="a recorded log of requests")
    parser.add_argument(
        "--spot", type=Path, nargs="+", default=[], metavar="FILE", help="recorded spot markets, one file for each zone"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
