"""Measure gptoss-server over real vLLM beside vLLM alone, print tables, write build/bench/runtime.json.

python -m e2e.bench.runtime [--rounds N] [--only ITEM,...] [--soak-seconds S] [--quick]
"""

import argparse
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from e2e.bench.bars import bars_table, medians, shown, table
from e2e.bench.errors import BenchError
from e2e.bench.result import write_result
from e2e.bench.rows import Row
from e2e.bench.runtime.failures import measure_failures
from e2e.bench.runtime.judge import judge
from e2e.bench.runtime.rows import ITEMS, OURS, PLAIN, SOAK, SPEED, START
from e2e.bench.runtime.soak import measure_soak
from e2e.bench.runtime.speed import Sizes, measure_speed
from e2e.images.errors import ImageError
from e2e.images.vllm_layer import VLLM_VERSION
from e2e.model import ensure_model
from e2e.progress import say, step
from e2e.vllm.faults import FaultError
from e2e.vllm.replica import ServerError
from e2e.vllm.room import Room, RoomError, open_room


RESULT = Path("build/bench/runtime.json")
QUICK = Sizes(slices=2, tokens=60, first_tokens=10)
QUICK_SOAK_SECONDS = 20.0
SOAK_SECONDS = 1800.0
COLUMNS = {
    START: ("start_s", "rss_mb"),
    SPEED: ("tokens_per_second", "ttft_p50_ms", "cpu_s_per_1000_tokens", "rss_mb", "foreign", "steal"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when everything could be measured, met or missed; 1 when not, with the reason on standard error."""
    options = _parser().parse_args(arguments)
    began = time.monotonic()
    try:
        rows = run(options)
    except (BenchError, FaultError, ImageError, RoomError, ServerError, TimeoutError) as error:
        print(f"the bench stopped: {error!r}", file=sys.stderr)
        return 1
    print_tables(rows)
    print(
        f"\n{bars_table(judge(rows))}\n\nThe tiny model on CPUs. {time.monotonic() - began:.0f} s; all of it: {RESULT}"
    )
    write(rows)
    return 0


def run(options: argparse.Namespace) -> list[Row]:
    """Return the rows of all rounds. Raises what says that something cannot be measured."""
    room = open_room(ensure_model())
    rounds = 1 if options.quick else options.rounds
    sizes = QUICK if options.quick else Sizes()
    rows: list[Row] = []
    for number in range(1, rounds + 1):
        rows += _round(room, options.only, sizes, number)
    if SOAK in options.only:
        seconds = QUICK_SOAK_SECONDS if options.quick else options.soak_seconds
        with step(f"{SOAK}, {seconds:.0f} s"):
            rows.append(measure_soak(room, seconds))
        _tell(rows[-1])
    return rows


def _round(room: Room, only: Sequence[str], sizes: Sizes, number: int) -> list[Row]:
    rows: list[Row] = []
    if SPEED in only:
        with step(f"round {number}: {SPEED}"):
            rows += measure_speed(room, sizes, number)
    with step(f"round {number}: failures"):
        rows += measure_failures(room, only, number)
    for row in rows:
        _tell(row)
    return rows


def _tell(row: Row) -> None:
    said = ", ".join(f"{name} {value:.4g}" for name, value in row.values.items())
    say(f"{row.item}, {row.subject}: {said}")


def print_tables(rows: Sequence[Row]) -> None:
    """Print the medians of all rounds."""
    for item, columns in COLUMNS.items():
        lines = [_line(rows, item, subject, columns) for subject in (OURS, PLAIN)]
        if any(row.item == item for row in rows):
            print(f"\n{item}\n\n{table(('', *columns), lines)}")
    for item in dict.fromkeys(row.item for row in rows if row.item not in COLUMNS):
        values = medians(row.values for row in rows if row.item == item)
        print(f"\n{item}: " + ", ".join(f"{name} {shown(value)}" for name, value in values.items()))


def _line(rows: Sequence[Row], item: str, subject: str, columns: Sequence[str]) -> list[str]:
    values = medians(row.values for row in rows if (row.item, row.subject) == (item, subject))
    return [subject, *(shown(values.get(column)) for column in columns)]


def write(rows: Sequence[Row]) -> None:
    """Write everything as JSON."""
    write_result(
        RESULT,
        "runtime",
        versions={"gptoss-operator": metadata.version("gptoss-operator"), "vllm": VLLM_VERSION},
        facts={"model": "tiny gpt-oss, bf16, on CPUs"},
        bars=judge(rows),
        rows=rows,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.bench.runtime", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds; in each, everything but the soak is measured")
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=list(ITEMS),
        help=f"items, separated by commas, of: {', '.join(ITEMS)}",
    )
    parser.add_argument("--soak-seconds", type=float, default=SOAK_SECONDS, help="how long saturation lasts")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
