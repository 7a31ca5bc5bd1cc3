"""`kubectl gptoss`: what one asks a deployment on a terminal."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gptoss_operator.cli import rollout, simulate
from gptoss_operator.errors import GptOssError


RUN: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {"rollout": rollout.run, "simulate": simulate.run}


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="kubectl gptoss", description=__doc__.split(":", 1)[1].strip().capitalize())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    rollout.add_to(commands)
    simulate.add_to(commands)
    options = parser.parse_args(arguments)
    try:
        return RUN[options.command](options)
    except GptOssError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
