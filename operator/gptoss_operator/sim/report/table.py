"""The table of a simulation, for a terminal."""

from collections.abc import Iterable, Sequence
from statistics import fmean

from gptoss_operator.sim.contract import Result


HEADS = (
    "policy",
    "cost $",
    "in time %",
    "TTFT p50 s",
    "p95",
    "p99",
    "failed %",
    "broken %",
    "retried %",
    "actions",
    "reversals",
    "spot h",
    "on-demand h",
    "unready %",
)


def results_table(groups: Iterable[tuple[str, Sequence[Result]]]) -> str:
    """Return one line for each policy, with means over its seeds."""
    return columns(HEADS, [_row(name, results) for name, results in groups if results])


def columns(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a text table: first column to the left, the others to the right."""
    lines = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _row(name: str, results: Sequence[Result]) -> list[str]:
    def percent(part: str) -> str:
        return f"{100 * fmean(getattr(result, part) / max(1, result.requests) for result in results):.3f}"

    hours = fmean(result.on_demand_hours + result.spot_hours for result in results)
    return [
        name,
        f"{fmean(result.cost for result in results):.2f}",
        f"{100 * fmean(result.attainment for result in results):.2f}",
        *(f"{fmean(getattr(result, part) for result in results):.2f}" for part in ("ttft_p50", "ttft_p95", "ttft_p99")),
        *(percent(part) for part in ("failed", "lost", "retried")),
        *(f"{fmean(getattr(result, part) for result in results):.0f}" for part in ("actions", "reversals")),
        *(f"{fmean(getattr(result, part) for result in results):.1f}" for part in ("spot_hours", "on_demand_hours")),
        f"{100 * fmean(result.unready_hours for result in results) / max(hours, 1e-9):.1f}",
    ]
