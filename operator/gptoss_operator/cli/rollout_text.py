"""Durations, tables and texts of others, as a terminal shows them."""

from collections.abc import Sequence
from typing import Final


MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
FACT_WIDTH: Final = 11


def plain(text: str) -> str:
    """Return `text` as one line without control characters: what a server last said may have any."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def roughly(seconds: float) -> str:
    """Return a time to come, such as `about 4 min`. It is known no better."""
    if seconds < MINUTE:
        return "less than a minute"
    if seconds < 2 * HOUR:
        return f"about {round(seconds / MINUTE)} min"
    if seconds < 2 * DAY:
        return f"about {round(seconds / HOUR)} h"
    return f"about {round(seconds / DAY)} days"


def age(seconds: float) -> str:
    """Return a time that has passed, as kubectl shows it: `12m`. Clocks that disagree make nothing younger than 0s."""
    if seconds < 2 * MINUTE:
        return f"{max(0, int(seconds))}s"
    if seconds < 2 * HOUR:
        return f"{int(seconds / MINUTE)}m"
    if seconds < 2 * DAY:
        return f"{int(seconds / HOUR)}h"
    return f"{int(seconds / DAY)}d"


def facts(pairs: Sequence[tuple[str, str | None]]) -> list[str]:
    """Return a line for each fact that is known."""
    return [f"  {name:<{FACT_WIDTH}}{plain(text)}" for name, text in pairs if text]


def table(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Return the rows with their columns below each other. The first row is the header."""
    shown = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return [
        indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown
    ]
