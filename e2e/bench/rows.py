"""What was measured: one row for each item, subject and round."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The values of one item."""

    item: str
    subject: str
    round: int
    values: dict[str, float] = field(default_factory=dict)
    """By name, with the unit at its end. `foreign` and `steal` are cores that others used meanwhile."""

    def document(self) -> dict[str, str | int | float]:
        """Return the row as it stands in the JSON."""
        return {"item": self.item, "subject": self.subject, "round": self.round, **self.values}


def values_of(rows: Iterable[Row], item: str, subject: str, name: str) -> dict[int, float]:
    """Return one value of one item and subject, by round."""
    return {
        row.round: row.values[name] for row in rows if (row.item, row.subject) == (item, subject) and name in row.values
    }


def ratios(rows: Iterable[Row], item: str, name: str, ours: str, theirs: str) -> list[float]:
    """Return ours divided by theirs in each round that has both: the machine of one round is the same for both."""
    known = list(rows)
    mine, other = values_of(known, item, ours, name), values_of(known, item, theirs, name)
    return [mine[number] / other[number] for number in sorted(mine.keys() & other.keys()) if other[number]]
