"""`kubectl gptoss simulate`: what a deployment's policy would have cost, and how long clients would have waited."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.cli.simulate_report import write_report
from gptoss_operator.core.parse import parse_spec
from gptoss_operator.core.placement.places import CapacityType, Place
from gptoss_operator.core.placement.policy import Prices
from gptoss_operator.core.policies import prices_of
from gptoss_operator.errors import GptOssError
from gptoss_operator.sim.logs import LogFormat, read_requests
from gptoss_operator.sim.market import MarketKind
from gptoss_operator.sim.models import PRESETS, preset
from gptoss_operator.sim.policies.ours import ours_of
from gptoss_operator.sim.policies.sizing import sizing_of
from gptoss_operator.sim.policies.table import BASELINES, baselines
from gptoss_operator.sim.report.recipes import HOUR, MadeUp, Recipe, Recorded
from gptoss_operator.sim.report.runs import Job, run_all, told_on_stderr


if TYPE_CHECKING:
    from gptoss_operator.sim.contract import Policy

OURS: Final = "yours"
ASSUMED_PRICES: Final = Prices(
    table={Place(capacity=CapacityType.ON_DEMAND): 1.0, Place(capacity=CapacityType.SPOT): 0.4}
)
"""Where the spec has none: costs are then in replica-hours on demand."""

LAST_SECONDS: Final = 120.0
"""After the last request of a log."""


class SimulateError(GptOssError):
    """An option of the simulation is wrong. The message names it and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be simulated."""

    spec: GptOssSpec
    recipes: tuple[Recipe, ...]
    seeds: int
    baselines: tuple[str, ...]
    out: Path
    notes: tuple[str, ...]
    """What was assumed, for the report."""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "simulate", help="what a policy would have cost", description=__doc__.split(": ", 1)[1]
    )
    add = parser.add_argument
    add("--deployment", type=Path, required=True, metavar="FILE", help="YAML of the GptOssDeployment")
    add("--requests", type=Path, metavar="FILE", help="log of requests; default: synthetic traffic")
    add("--format", type=LogFormat, choices=list(LogFormat), help="of the log; default: what its first line tells")
    add("--peak", type=float, metavar="N", help="requests per second at the peak of a day; default: as logged, or 40")
    add(
        "--market", nargs="+", default=["medium"], metavar="MARKET",
        help="calm, medium, harsh (synthetic), none, or recordings, one JSON file for each zone; default: medium",
    )  # fmt: skip
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--hours", type=float, help="how long; default: the length of the log, or 24")
    length.add_argument("--days", type=float, help="the same in days")
    add(
        "--seeds", type=int, default=1, metavar="N", help="simulations of each policy; 10 allow comparisons; default: 1"
    )
    add(
        "--baselines", nargs="*", default=list(BASELINES), choices=BASELINES, metavar="NAME",
        help=f"what to compare with, of: {', '.join(BASELINES)}; default: all",
    )  # fmt: skip
    add(
        "--replica",
        default="gpt-oss-120b-h100-tp1",
        metavar="NAME",
        help=f"how fast a replica is: {', '.join(PRESETS)}",
    )
    add("--out", type=Path, default=Path("build/simulate"), metavar="DIR", help="where to; default: build/simulate")


def run(options: argparse.Namespace) -> int:
    """Simulate, print the tables, write the report. Raises GptOssError when something cannot be used."""
    question = question_of(options)
    jobs = [job for recipe in question.recipes for job in _jobs(question, recipe)]
    sys.stderr.write(f"{len(jobs)} simulations:\n")
    results = run_all(jobs, told_on_stderr())
    sys.stdout.write(write_report(question.out, jobs, results, question.notes))
    return 0


def question_of(options: argparse.Namespace) -> Question:
    """Return what `options` ask for. Raises GptOssError, which names the option and the remedy."""
    if options.seeds < 1:
        raise SimulateError(f"--seeds is {options.seeds}: give 1 or more")
    if options.peak is not None and not options.peak > 0:
        raise SimulateError(f"--peak is {options.peak}: give requests per second above 0")
    spec = _spec(options.deployment)
    model = preset(options.replica)
    notes = [f"Replica: {options.replica}. {model.source}."]
    prices = prices_of((), spec.prices, model.replica.gpus)
    if not prices.table:
        prices = ASSUMED_PRICES
        notes.append("The spec has no prices: costs are in hours of one on-demand replica, and spot is ASSUMED at 0.4.")
    traffic, logged = _traffic(options, notes)
    duration = _duration(options, logged)
    recipes = tuple(
        Recipe(
            name=name,
            traffic=traffic,
            market=market,
            duration=duration,
            replica=model.replica,
            prices=prices,
            ttft_seconds=(spec.scaling.target.time_to_first_token_milliseconds / 1000) if spec.scaling else 5.0,
            drain_seconds=spec.drain_seconds,
            initial_replicas=max(1, spec.replicas or (spec.scaling.min_replicas if spec.scaling else 1)),
        )
        for name, market in _markets(options.market)
    )
    return Question(
        spec=spec,
        recipes=recipes,
        seeds=options.seeds,
        baselines=tuple(dict.fromkeys(options.baselines)),
        out=options.out,
        notes=tuple(notes),
    )


def _jobs(question: Question, recipe: Recipe) -> list[Job]:
    sizing = sizing_of(recipe.replica, recipe.scenario(0).requests)
    ours = ours_of(question.spec, gpus=recipe.replica.gpus, prices=recipe.prices, name=OURS)
    most = max(ours.scaling.max_replicas, sizing.replicas)
    made = baselines(sizing, least=max(1, ours.scaling.min_replicas), most=most)
    named: list[tuple[str, Policy]] = [(OURS, ours)]
    named += [(name, policy) for name in question.baselines for policy in made[name]()]
    return [
        Job(recipe=recipe, policy=policy, seed=seed, group=name, detailed=seed == 0)
        for seed in range(question.seeds)
        for name, policy in named
    ]


def _spec(path: Path) -> GptOssSpec:
    try:
        body: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise SimulateError(f"--deployment {path} cannot be read: {error}") from error
    if not isinstance(body, dict) or body.get("kind") != "GptOssDeployment":
        raise SimulateError(f"--deployment {path} holds no GptOssDeployment: give the YAML of one object")
    return parse_spec(body)


def _traffic(options: argparse.Namespace, notes: list[str]) -> tuple[MadeUp | Recorded, float | None]:
    """Return the traffic, and how long its log is."""
    if options.requests is None:
        if options.format is not None:
            raise SimulateError("--format is given without --requests: give the log, or leave the format out")
        notes.append("Traffic: SYNTHETIC.")
        return MadeUp(peak_per_second=options.peak or 40.0), None
    log = read_requests(options.requests, options.format)
    if log.assumed:
        notes.append(f"{log.assumed} of {len(log.requests)} requests had no token counts: the median was taken.")
    notes.append(f"Traffic: {options.requests.name}" + (", repeated with a daily profile." if options.peak else "."))
    recorded = Recorded(
        path=options.requests,
        log_format=options.format,
        peak_per_second=options.peak,
        is_repeated=options.hours is not None or options.days is not None or options.peak is not None,
    )
    return recorded, log.requests.at[-1]


def _duration(options: argparse.Namespace, logged: float | None) -> float:
    for name, value in (("--hours", options.hours), ("--days", options.days)):
        if value is not None and not value > 0:
            raise SimulateError(f"{name} is {value}: give a number above 0")
    if options.hours is not None:
        return float(options.hours) * HOUR
    if options.days is not None:
        return float(options.days) * 24 * HOUR
    # The last requests are to end, too.
    return 24 * HOUR if logged is None else logged + LAST_SECONDS


def _markets(given: Sequence[str]) -> list[tuple[str, MarketKind | tuple[Path, ...] | None]]:
    words = [*MarketKind, "none"]
    files = [Path(one) for one in given if one not in words]
    for path in files:
        if not path.is_file():
            raise SimulateError(f"--market {path} is no file: give one, or {', '.join(words)}")
    markets: list[tuple[str, MarketKind | tuple[Path, ...] | None]] = [
        ("no spot", None) if one == "none" else (f"{one} (synthetic)", MarketKind(one)) for one in given if one in words
    ]
    return markets + ([("recorded", tuple(files))] if files else [])
