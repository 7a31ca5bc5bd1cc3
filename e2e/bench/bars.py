"""Bars: what a benchmark is held to, and whether it was met."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Op(StrEnum):
    """How a value is compared with its bar."""

    AT_LEAST = ">="
    AT_MOST = "<="


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One value beside its bar."""

    name: str
    value: float | None
    """None: it was not measured in this run."""
    unit: str
    op: Op
    bar: float

    @property
    def met(self) -> bool:
        """Whether the value satisfies the bar. One that was not measured does not."""
        if self.value is None:
            return False
        return self.value >= self.bar if self.op is Op.AT_LEAST else self.value <= self.bar

    def document(self) -> dict[str, str | float | bool | None]:
        """Return the bar as it stands in a benchmark's JSON."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "op": str(self.op),
            "bar": self.bar,
            "met": self.met,
        }


def median(values: Iterable[float]) -> float | None:
    """Return the median, None of no values."""
    known = list(values)
    return statistics.median(known) if known else None


def most(values: Iterable[float]) -> float | None:
    """Return the largest value, None of no values."""
    return max(values, default=None)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
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


def shown(value: float | None) -> str:
    """Return a number in few digits."""
    if value is None:
        return "-"
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def bars_table(bars: Iterable[Bar]) -> str:
    """Return the bars as a text table, without those that were not measured."""
    rows = [
        (bar.name, shown(bar.value), bar.unit, f"{bar.op} {shown(bar.bar)}", "met" if bar.met else "MISSED")
        for bar in bars
        if bar.value is not None
    ]
    return table(("bar", "value", "unit", "wanted", ""), rows)


def medians(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of each value over the rows that have it."""
    collected: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            collected.setdefault(name, []).append(value)
    return {name: statistics.median(values) for name, values in collected.items()}
