"""`python -m e2e.cluster`: clusters from the command line."""

import argparse
import signal
import sys
from types import FrameType

from e2e.cluster import lifecycle
from e2e.cluster.errors import ClusterError
from e2e.cluster.local import gpus
from e2e.cluster.local.cluster import prepare
from e2e.cluster.provider import DEFAULT_NAME, Cluster, Tier
from e2e.progress import say


INTERRUPTED = 130
"""Exit status after a Ctrl-C, as shells have it."""


def main() -> int:
    """Carry out one command and return the exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end_in_order)
    arguments = parse_arguments()
    try:
        carry_out(arguments)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def end_in_order(number: int, _: FrameType | None) -> None:
    """Leave through every `finally`, so that what was started is ended."""
    sys.exit(128 + number)


def parse_arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m e2e.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command, help_text in (
        ("up", "start a cluster, or find it running"),
        ("down", "end a cluster and leave nothing behind"),
        ("status", "say whether a cluster is up"),
    ):
        each = commands.add_parser(command, help=help_text)
        each.add_argument("--name", default=DEFAULT_NAME)
        each.add_argument("--provider", choices=lifecycle.PROVIDERS, default="auto")
        if command == "up":
            each.add_argument("--tier", type=Tier, choices=list(Tier), default=Tier.NODE)
    build = commands.add_parser("build", help="build the programs and nothing else")
    build.add_argument("--tier", type=Tier, choices=list(Tier), default=Tier.NODE)
    gpu = commands.add_parser("gpu", help="the simulated GPUs of a cluster")
    gpu.add_argument("--name", default=DEFAULT_NAME)
    gpu.add_argument("action", choices=("list", "unhealthy", "healthy"))
    gpu.add_argument("gpu", nargs="?", help="the GPU to make unhealthy or healthy")
    return parser.parse_args()


def carry_out(arguments: argparse.Namespace) -> None:
    """Carry out one command."""
    match arguments.command:
        case "up":
            show(lifecycle.up(arguments.name, arguments.tier, arguments.provider))
        case "down":
            lifecycle.down(arguments.name, arguments.provider)
        case "status":
            show(running(arguments.name, arguments.provider))
        case "build":
            for program, path in prepare(arguments.tier).items():
                print(f"{program}\t{path}")
        case "gpu":
            change_gpu(running(arguments.name), arguments.action, arguments.gpu)


def running(name: str, provider: str = "auto") -> Cluster:
    """Return a cluster that is up. Raises `ClusterError` when it is not."""
    cluster = lifecycle.find(name, provider)
    if cluster is None:
        raise ClusterError(f"cluster {name} is not up; start it with: python -m e2e.cluster up --name {name}")
    return cluster


def change_gpu(cluster: Cluster, action: str, gpu: str | None) -> None:
    """Change a simulated GPU if one is named, and print all of them."""
    if action != "list":
        if gpu is None:
            raise ClusterError(f"which GPU is to be {action}? There are {', '.join(gpus.list_gpus(cluster))}")
        gpus.set_health(cluster, gpu, healthy=action == "healthy")
    for name, healthy in gpus.list_gpus(cluster).items():
        print(f"{name}\t{'healthy' if healthy else 'unhealthy'}")


def show(cluster: Cluster) -> None:
    """Print what a person types next."""
    say(f"cluster {cluster.name} is up ({cluster.provider}, tier {cluster.tier}). To use it in this shell:")
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    print(f"export PATH={cluster.bin_dir}:$PATH")


if __name__ == "__main__":
    sys.exit(main())
