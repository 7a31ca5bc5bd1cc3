"""The two pictures of a simulation: what happened over the day, and cost beside attainment."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Final

from gptoss_operator.sim.contract import Point, Result
from gptoss_operator.sim.report.chart import COLOURS, Axis, Panel, hours, linear, picture
from gptoss_operator.sim.report.compare import Curve


WIDTH: Final = 1100.0
MARGIN: Final = 60.0
ROW: Final = 350.0
HEAD: Final = 90.0
REPLICAS, QUEUE = 150.0, 70.0
ON_DEMAND, SPOT, READY, TARGET, WAITING, ARRIVALS = "#d55e00", "#56b4e9", "#000000", "#5d3a9b", "#cc79a7", "#009e73"
LEAST_MISSES: Final = 1e-5
"""Share of late requests that the axis of attainment goes down to."""


def label_of(results: Sequence[Result]) -> str:
    """Return what must be said of every figure: that it is simulated, and whether of made-up data."""
    made_up = any(result.synthetic for result in results)
    return "SIMULATED, of SYNTHETIC market or traffic" if made_up else "SIMULATED, of recorded market and traffic"


def timeline(results: Sequence[Result], duration: float) -> str:
    """Return the picture of replicas and waiting requests over time, one row for each policy."""
    most = max((point.on_demand + point.spot for result in results for point in result.points), default=1)
    queue = max((point.waiting for result in results for point in result.points), default=1)
    rate = max((point.arrivals for result in results for point in result.points), default=1.0)
    panels = []
    for row, result in enumerate(results):
        top = HEAD + row * ROW
        panels.append(_replicas(result, top, hours(duration), linear(_head(result), 0, most + 1)))
        panels.append(_queue(result, top + REPLICAS + 60, hours(duration), max(1, queue), rate))
    return picture(WIDTH, HEAD + ROW * len(results), "Replicas and waiting requests", label_of(results), panels)


def pareto(curves: Mapping[str, Curve], title: str) -> str:
    """Return the picture of mean cost beside mean attainment, one line for each policy."""
    results = [result for curve in curves.values() for points in curve.values() for result in points]
    drawn = {name: sorted(_means(curve)) for name, curve in curves.items()}
    most = max((cost for points in drawn.values() for _, cost, _ in points), default=1.0)
    panel = Panel(
        left=MARGIN, top=HEAD + 20, width=WIDTH - 2 * MARGIN, height=440,
        x=_attainment_axis(min((point[0] for points in drawn.values() for point in points), default=0.9)),
        y=linear("cost, $", 0, most * 1.05, most_ticks=10),
    )  # fmt: skip
    for (_, points), colour in zip(drawn.items(), COLOURS * len(drawn), strict=False):
        panel.line([(reached, cost) for reached, cost, _ in points], colour)
        for reached, cost, text in points:
            panel.mark(reached, cost, colour, text)
    panel.legend(list(zip(drawn, COLOURS * len(drawn), strict=False)))
    return picture(WIDTH, HEAD + 540, title, label_of(results), [panel])


def _replicas(result: Result, top: float, x: Axis, y: Axis) -> Panel:
    panel = Panel(left=MARGIN, top=top, width=WIDTH - 2 * MARGIN, height=REPLICAS, x=x, y=y)
    points = result.points
    on_demand = [float(point.on_demand) for point in points]
    both = [float(point.on_demand + point.spot) for point in points]
    panel.area(*_steps(points, on_demand, [0.0] * len(points)), ON_DEMAND)
    panel.area(*_steps(points, both, on_demand), SPOT)
    panel.line(_steps(points, [float(point.ready) for point in points], both)[0], READY, width=1.2)
    panel.line(_steps(points, [float(point.target) for point in points], both)[0], TARGET, width=1.2, dashed=True)
    panel.legend([("on demand", ON_DEMAND), ("spot", SPOT), ("ready", READY), ("target", TARGET)])
    return panel


def _queue(result: Result, top: float, x: Axis, most: int, rate: float) -> Panel:
    panel = Panel(
        left=MARGIN, top=top, width=WIDTH - 2 * MARGIN, height=QUEUE,
        x=x, y=linear("waiting requests", 0, most, most_ticks=3),
    )  # fmt: skip
    panel.line([(point.at, point.arrivals / rate * most) for point in result.points], ARRIVALS, width=0.8)
    panel.line([(point.at, float(point.waiting)) for point in result.points], WAITING)
    panel.legend([("waiting", WAITING), (f"arrivals, top of scale {rate:.3g}/s", ARRIVALS)])
    return panel


def _steps(
    points: Sequence[Point], values: Sequence[float], base: Sequence[float]
) -> tuple[list[tuple[float, float]], list[float]]:
    """Return the corners of a line that jumps, and the base at each of them."""
    corners, lower = [], []
    for (first, second), value, below in zip(pairwise(points), values, base, strict=False):
        corners += [(first.at, value), (second.at, value)]
        lower += [below, below]
    return corners, lower


def _head(result: Result) -> str:
    return (
        f"{result.policy}: {result.attainment:.2%} in time, {result.cost:.0f} $, {result.lost} broken off, "
        f"{result.actions} actions"
    )


def _means(curve: Curve) -> list[tuple[float, float, str]]:
    means = []
    for name, results in curve.items():
        reached, cost = fmean(result.attainment for result in results), fmean(result.cost for result in results)
        means.append((reached, cost, f"{name}: {reached:.2%} in time, {cost:.2f} $, {len(results)} seeds"))
    return means


def _attainment_axis(least: float) -> Axis:
    """Return an axis on which each further nine takes the same room."""
    lowest = math.log10(max(1 - least, 0.02) * 1.2)
    highest = math.log10(LEAST_MISSES)
    marks = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999)

    def place(reached: float) -> float:
        return (lowest - math.log10(max(1 - reached, LEAST_MISSES))) / (lowest - highest)

    ticks = tuple((mark, f"{mark * 100:g}") for mark in marks if place(mark) >= 0)
    return Axis(label="requests in time, %", ticks=ticks, place=place)
