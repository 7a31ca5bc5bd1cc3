"""Measure the gateway beside its peers, print tables, write build/bench/gateway.json.

python -m e2e.bench.gateway [--rounds N] [--only ITEM,...] [--quick]
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from e2e.bench.bars import bars_table
from e2e.bench.errors import BenchError
from e2e.bench.gateway import behaviour, failures
from e2e.bench.gateway.install import REQUIREMENTS, ensure_peers
from e2e.bench.gateway.items import Bench, Sizes, measure
from e2e.bench.gateway.judge import judge
from e2e.bench.gateway.native import ensure_programs
from e2e.bench.gateway.pinning import require_two_cpus
from e2e.bench.gateway.stubs import set_all, stubs
from e2e.bench.gateway.subjects import running_gateway, side_by_side
from e2e.bench.gateway.tables import print_tables
from e2e.bench.gateway.versions import haproxy_version
from e2e.bench.result import write_result
from e2e.bench.rows import Row
from e2e.cluster.errors import ClusterError
from e2e.gateway.local import GatewayError
from e2e.images.errors import ImageError
from e2e.progress import say, step


RESULT = Path("build/bench/gateway.json")
PEERS = "peers"
QUICK = Sizes(rounds=1, wrk_seconds=1, streams=400, overload_streams=1200)
ALONE = (
    behaviour.TURNS,
    failures.KILLED,
    failures.HUNG,
    failures.WATCHDOG,
    failures.DRAINED,
    behaviour.HELD,
    behaviour.SLOW_CLIENTS,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when everything could be measured, met or missed; 1 when not, with the reason on standard error."""
    options = _parser().parse_args(arguments)
    began = time.monotonic()
    sizes = QUICK if options.quick else Sizes(rounds=options.rounds)
    try:
        rows = run(sizes, options.only)
    except (BenchError, ClusterError, GatewayError, ImageError) as error:
        print(f"the bench stopped: {error}", file=sys.stderr)
        return 1
    bars = judge(rows)
    print_tables(rows)
    print(f"\n{bars_table(bars)}\n\nReplicas are simulated. {time.monotonic() - began:.0f} s; all of it: {RESULT}")
    write(rows)
    return 0


def run(sizes: Sizes, only: Sequence[str]) -> list[Row]:
    """Return the rows of all rounds. Raises BenchError when something cannot be measured."""
    require_two_cpus()
    programs, rows = ensure_programs(), []
    peers = ensure_peers() if PEERS in only else Path()
    with stubs(programs.stub) as replicas:
        bench = Bench(programs=programs, stubs=replicas, sizes=sizes)
        for number in range(1, sizes.rounds + 1):
            if PEERS in only:
                rows += _beside(bench, peers, number)
            if set(only) - {PEERS}:
                rows += _alone(bench, only, number)
    return rows


def _beside(bench: Bench, peers: Path, number: int) -> list[Row]:
    rows: list[Row] = []
    for name, start in side_by_side(peers).items():
        with step(f"round {number}: {name}"), start() as subject:
            rows += measure(bench, subject, number)
    return rows


def _alone(bench: Bench, only: Sequence[str], number: int) -> list[Row]:
    rows = []
    with running_gateway() as (subject, gateway):
        set_all(bench.stubs, usage_port=subject.usage_port)
        scenarios: dict[str, Callable[[], Row]] = {
            behaviour.TURNS: lambda: behaviour.turns(bench, subject, number),
            failures.KILLED: lambda: failures.killed(bench, subject, number),
            failures.HUNG: lambda: failures.hung(bench, subject, gateway.run, number),
            failures.WATCHDOG: lambda: failures.watchdog(bench, subject, number),
            failures.DRAINED: lambda: failures.drained(bench, subject, number),
            behaviour.HELD: lambda: behaviour.held(bench, subject, gateway, number),
            behaviour.SLOW_CLIENTS: lambda: behaviour.slow_clients(bench, subject, number),
        }
        for name, scenario in scenarios.items():
            if name in only:
                with step(f"round {number}: {name}"):
                    row = scenario()
                say(", ".join(f"{key} {value:.4g}" for key, value in row.values.items()))
                rows.append(row)
        set_all(bench.stubs, ready=1, drain=0, hang=0)
    return rows


def write(rows: Sequence[Row]) -> None:
    """Write everything as JSON."""
    write_result(
        RESULT,
        "gateway",
        versions={
            "haproxy": haproxy_version(),
            "gptoss-operator": metadata.version("gptoss-operator"),
            **dict(one.split("==") for one in REQUIREMENTS),
        },
        facts={"replicas": "simulated"},
        bars=judge(rows),
        rows=rows,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.bench.gateway", description=__doc__.split("\n", 1)[0])
    items = (PEERS, *ALONE)
    parser.add_argument("--rounds", type=int, default=5, help="rounds; in each, every subject is measured once")
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=list(items),
        help=f"items, separated by commas, of: {', '.join(items)}",
    )
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
