"""Finds arguments of `vllm serve` that a user may not give, however they are spelled. Pure."""

from collections.abc import Iterable
from types import MappingProxyType

from gptoss_runtime.orders import OWNED_FLAGS


_SHORT_FLAGS = MappingProxyType(
    {
        "-tp": "--tensor-parallel-size",
        "-pp": "--pipeline-parallel-size",
        "-asc": "--api-server-count",
        "-n": "--nnodes",
        "-r": "--node-rank",
        "-ep": "--enable-expert-parallel",
        "-q": "--quantization",
        "-sc": "--speculative-config",
        "-O": "--optimization-level",
    }
)
_SHORTEST_ABBREVIATION = len("--xx")


def refusals_of(extra_args: Iterable[str]) -> tuple[str, ...]:
    """Return one sentence for each argument that may not be given; empty when all may.

    Seen through the spellings that vLLM accepts: `--flag value` and `--flag=value`, `--flag.key` of JSON, underscores,
    the `--no-` form, the short forms, and any abbreviation, which Python's argparse completes.
    """
    refusals = []
    for argument in extra_args:
        if argument == "--":
            refusals.append('extraArgs: "--" would end the arguments early; leave it out')
        elif argument.startswith("-") and not _is_number(argument) and (owned := _owned(argument)):
            refusals.append(f"extraArgs: {_name(argument)} is not yours to set; {OWNED_FLAGS[owned]}")
    return tuple(refusals)


def _is_number(argument: str) -> bool:
    return argument[1:2].isdigit() or argument == "-"


def _name(argument: str) -> str:
    return argument.partition("=")[0].partition(".")[0]


def _owned(argument: str) -> str | None:
    flag = _name(argument).replace("_", "-")
    if flag.startswith(("--data-parallel", "-dp")):
        return "--data-parallel-size"
    if not flag.startswith("--"):
        return next((owned for short, owned in _SHORT_FLAGS.items() if _means_short(flag, short)), None)
    if flag in OWNED_FLAGS:
        return flag
    if flag.startswith("--no-"):
        flag = "--" + flag.removeprefix("--no-")
    if len(flag) < _SHORTEST_ABBREVIATION:
        return None
    return next((owned for owned in OWNED_FLAGS if owned.startswith(flag)), None)


def _means_short(flag: str, short: str) -> bool:
    # Of a flag with one letter, argparse takes the rest of the word as the value: "-n2".
    one_letter = len(short) == len("-n") and flag.startswith(short)
    return one_letter or short.startswith(flag)
