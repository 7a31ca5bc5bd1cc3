"""Arguments of `vllm serve` that a user may not give, each with what to do instead. Pure."""

from collections.abc import Iterable
from types import MappingProxyType


_OURS = "leave it out: the replica's server depends on it"
_GPUS = "set spec.tensorParallel; more GPUs than one replica holds are more replicas"
_TLS = "leave it out: TLS ends at the gateway, and health is asked over plain HTTP inside the pod"

OWNED_FLAGS = MappingProxyType(
    {
        "--model": "set spec.model",
        "--revision": "set spec.model.source.huggingFace.revision",
        "--served-model-name": "set spec.model.servedName",
        "--tensor-parallel-size": "set spec.tensorParallel",
        "--max-model-len": "set spec.engine.maxModelLen",
        "--max-num-seqs": "set spec.engine.maxNumSeqs",
        "--gpu-memory-utilization": "set spec.engine.gpuMemoryUtilization",
        "--shutdown-timeout": "set spec.drainSeconds",
        "--api-key": "leave it out: keys belong to the gateway",
        "--host": _OURS,
        "--port": _OURS,
        "--uds": _OURS,
        "--root-path": _OURS,
        "--headless": _OURS,
        "--grpc": _OURS,
        "--config": "write the arguments themselves",
        "--middleware": _OURS,
        "--enable-server-load-tracking": _OURS,
        "--disable-access-log-for-endpoints": _OURS,
        "--fail-on-environ-validation": _OURS,
        "--tool-call-parser": "leave it out: gpt-oss has one, openai",
        "--enable-auto-tool-choice": "leave it out: gpt-oss always has it",
        "--api-server-count": "leave it out: one API server per replica keeps its count of running requests exact",
        "--pipeline-parallel-size": _GPUS,
        "--data-parallel-size": _GPUS,  # and all that begin with --data-parallel or -dp
        "--nnodes": _GPUS,
        "--node-rank": _GPUS,
        "--ssl-keyfile": _TLS,
        "--ssl-certfile": _TLS,
        "--ssl-ca-certs": _TLS,
        "--ssl-cert-reqs": _TLS,
        "--ssl-ciphers": _TLS,
        "--enable-ssl-refresh": _TLS,
    }
)
"""Owned argument and remedy. None of vLLM 0.32's other arguments is a beginning of one of these."""

_SHORT_FLAGS = MappingProxyType(
    {
        "-tp": "--tensor-parallel-size",
        "-pp": "--pipeline-parallel-size",
        "-asc": "--api-server-count",
        "-n": "--nnodes",
        "-r": "--node-rank",
    }
)
_SHORTEST_ABBREVIATION = len("--xx")


def refusals_of(extra_args: Iterable[str]) -> tuple[str, ...]:
    """Return one sentence for each argument that may not be given; empty when all may.

    Seen through the spellings that vLLM accepts: `--flag value` and `--flag=value`, underscores, the `--no-` form, the
    short forms, and any abbreviation, which Python's argparse completes.
    """
    refusals = []
    for argument in extra_args:
        if argument == "--":
            refusals.append('extraArgs: "--" would end the arguments early; leave it out')
        elif argument.startswith("-") and not _is_number(argument) and (owned := _owned(argument)):
            refusals.append(f"extraArgs: {argument.partition('=')[0]} is not yours to set; {OWNED_FLAGS[owned]}")
    return tuple(refusals)


def _is_number(argument: str) -> bool:
    return argument[1:2].isdigit() or argument == "-"


def _owned(argument: str) -> str | None:
    flag = argument.partition("=")[0].replace("_", "-")
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
