"""Names of what is measured, and how rows of the two servers are paired."""

from collections.abc import Iterable
from typing import Final

from e2e.bench.rows import Row


OURS: Final = "gptoss-server"
PLAIN: Final = "vllm serve"

START: Final = "start"
SPEED: Final = "speed"
KILLED: Final = "killed"
STOPPED_LOADED: Final = "stopped under load"
STOPPED_IDLE: Final = "stopped idle"
DRAINED: Final = "drained"
CUT: Final = "cut"
SOAK: Final = "soak"
ITEMS: Final = (SPEED, KILLED, STOPPED_IDLE, STOPPED_LOADED, DRAINED, CUT, SOAK)
"""What can be chosen; `start` is measured with `speed`."""

SLICE: Final = "slice"


def pairs(rows: Iterable[Row], item: str, name: str) -> list[tuple[float, float]]:
    """Return ours and theirs of one value, for each round and slice that has both."""
    of: dict[str, dict[tuple[int, float], float]] = {OURS: {}, PLAIN: {}}
    for row in rows:
        if row.item == item and row.subject in of and name in row.values:
            of[row.subject][row.round, row.values.get(SLICE, 0)] = row.values[name]
    ours, plain = of[OURS], of[PLAIN]
    return [(ours[key], plain[key]) for key in sorted(ours.keys() & plain.keys())]
