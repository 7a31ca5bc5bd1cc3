"""Measure what it costs to hear 5,000 replicas and their gateways, print a table, write build/bench/signals.json.

python -m e2e.bench.signals [--rounds N] [--replicas N] [--deployments N] [--intervals N]
"""

import argparse
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from e2e.bench.bars import Bar, Op, bars_table, medians, most, shown, table
from e2e.bench.errors import BenchError
from e2e.bench.machine import Meter
from e2e.bench.processes import resident_mb
from e2e.bench.result import write_result
from e2e.bench.rows import Row, values_of
from e2e.bench.signals.subject import GATEWAYS
from e2e.open_files import raise_open_files
from e2e.progress import say, step


RESULT = Path("build/bench/signals.json")
OURS = "operator"
ITEM = "hearing"
INTERVAL_SECONDS = 5.0
"""The operator's own default."""
SLACK = 1.1
"""A replica counts as unread when it was not asked for this many intervals: no timer is exact."""
ANSWER_SECONDS = 30.0
COLUMNS = ("cores", "cpu_ms_per_1000", "longest_gap_s", "unread", "passes_per_s", "rss_mb", "foreign", "steal")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when it could be measured, met or missed; 1 when not, with the reason on standard error."""
    options = _parser().parse_args(arguments)
    try:
        with step(f"{options.rounds} rounds of {options.intervals * INTERVAL_SECONDS:.0f} s"):
            rows = run(options)
    except BenchError as error:
        print(f"the bench stopped: {error}", file=sys.stderr)
        return 1
    values = medians(row.values for row in rows)
    print(f"\n{table(('', *COLUMNS), [[OURS, *(shown(values.get(column)) for column in COLUMNS)]])}")
    print(f"\n{bars_table(judge(rows))}\n\nAll of it: {RESULT}")
    write_result(
        RESULT,
        "signals",
        versions={"gptoss-operator": metadata.version("gptoss-operator")},
        facts={"fleet": f"{options.replicas} replicas, {options.deployments * GATEWAYS} gateways, on loopback"},
        bars=judge(rows),
        rows=rows,
    )
    return 0


def run(options: argparse.Namespace) -> list[Row]:
    """Return a row for each round. Raises BenchError when a program does not start or some are never heard."""
    # Subject and speakers have a connection to each pod, and inherit the limit.
    raise_open_files()
    with _program("speakers") as speakers:
        replica_port, gateway_port, seen_port = (int(port) for port in _line(speakers).split())
        sizes = (options.replicas, options.deployments, INTERVAL_SECONDS)
        with _program("subject", replica_port, gateway_port, *sizes) as subject:
            _line(subject)
            # The first interval still opens connections, and its questions are the second within a moment.
            time.sleep(2 * INTERVAL_SECONDS)
            _seen(seen_port)
            _done(subject)
            return [_round(options, subject, speakers, seen_port, number) for number in range(1, options.rounds + 1)]


def _round(
    options: argparse.Namespace,
    subject: "subprocess.Popen[str]",
    speakers: "subprocess.Popen[str]",
    port: int,
    number: int,
) -> Row:
    meter = Meter((subject.pid, speakers.pid))
    began = time.monotonic()
    time.sleep(options.intervals * INTERVAL_SECONDS)
    done, seconds = _done(subject), time.monotonic() - began
    seen = _seen(port)
    expected = seconds / INTERVAL_SECONDS * options.replicas
    values = {
        "cores": done["cpu_seconds"] / seconds,
        "cpu_ms_per_1000": done["cpu_seconds"] / max(seen["asked"], 1) * 1e6,
        "longest_gap_s": seen["longest_gap_seconds"],
        "unread": max(options.replicas - seen["speakers"], 0) + done["not_heard"],
        "asked_of_expected": seen["asked"] / expected,
        "passes_per_s": done.get("passes", 0) / seconds,
        "loads_known": done.get("known", 0) / max(done.get("passes", 0), 1),
        "rss_mb": resident_mb([subject.pid]),
        **meter.read(),
    }
    row = Row(item=ITEM, subject=OURS, round=number, values=values)
    say(f"round {number}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
    return row


def judge(rows: Sequence[Row]) -> list[Bar]:
    """Return the bars: the median of what it costs, and the worst of what must not happen."""
    cores = medians(row.values for row in rows).get("cores")
    return [
        Bar(name="CPU of hearing all", value=cores, unit="cores", op=Op.AT_MOST, bar=0.25),
        _worst(rows, "longest time between two questions to a replica", "longest_gap_s", "s", INTERVAL_SECONDS * SLACK),
        _worst(rows, "replicas that were not heard", "unread", "replicas", 0),
    ]


def _worst(rows: Sequence[Row], name: str, value: str, unit: str, bar: float) -> Bar:
    worst = most(values_of(rows, ITEM, OURS, value).values())
    return Bar(name=name, value=worst, unit=unit, op=Op.AT_MOST, bar=bar)


@contextmanager
def _program(name: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """Run one of the bench's programs."""
    command = [sys.executable, "-m", f"e2e.bench.signals.{name}", *(str(argument) for argument in arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        try:
            yield program
        finally:
            program.kill()


def _line(program: "subprocess.Popen[str]") -> str:
    """Return the next line of a program. Raises BenchError when it has ended."""
    assert program.stdout is not None
    line = program.stdout.readline()
    if not line:
        raise BenchError(f"{program.args!r} ended; what it printed above says why")
    return line


def _done(subject: "subprocess.Popen[str]") -> dict[str, Any]:
    assert subject.stdin is not None
    subject.stdin.write("\n")
    subject.stdin.flush()
    found: dict[str, Any] = json.loads(_line(subject))
    return found


def _seen(port: int) -> dict[str, Any]:
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as connection:
        connection.sendall(b"\n")
        found: dict[str, Any] = json.loads(connection.makefile().read())
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.bench.signals", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--replicas", type=int, default=5000)
    parser.add_argument("--deployments", type=int, default=250, help="each with two gateways")
    parser.add_argument("--intervals", type=int, default=4, help="length of a round, in intervals of 5 s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
