"""The deep health report: four questions about a replica, and what is known about each. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gptoss_runtime.contract import Check, CheckResult
from gptoss_runtime.server.gpu import GpuReading
from gptoss_runtime.server.watchdog import WRONG_ALLOWED, Watch, WatchLimits


FULL_CACHE = 0.98
"""Share of the key-value cache beyond which requests wait, or are computed again."""
FULL_MEMORY = 0.95
"""Share of the pod's memory limit that cannot be given back."""
LEAST_FREE_GPU_BYTES = 128 * 1024**2
"""vLLM takes nearly all of a GPU on purpose. With less than this left, a small allocation of a library may fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """What `/v1/models` lists."""

    lengths: Mapping[str, int | None]
    """The longest prompt and answer together, in tokens, by served name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """The pod's memory, as its control group counts it."""

    used_bytes: int
    """What cannot be given back. Files that are only cached do not count: the weights are such a file."""
    limit_bytes: int | None
    """None: there is no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the answers follow from."""

    served_names: Sequence[str]
    max_model_len: int | None
    """As ordered; None leaves it to the model."""
    models: Models | None
    """None: not asked yet, or not answered."""
    watch: Watch | None
    """None before the replica was ready, which takes good answers to the first probe."""
    limits: WatchLimits
    kv_cache_usage: float | None
    memory: MemoryUse | None
    gpus: Sequence[GpuReading]


def answer(facts: Facts) -> dict[str, CheckResult]:
    """Return the deep health report, by `Check`."""
    return {
        Check.MODEL_LOADED: _model_loaded(facts),
        Check.PARAMETERS_ACCESSIBLE: _parameters_accessible(facts),
        Check.INFERENCE_WORKING: _inference_working(facts),
        Check.MEMORY_AVAILABLE: _memory_available(facts),
    }


def gpu_fault(gpus: Sequence[GpuReading]) -> str:
    """Return the error of a GPU that spoils answers; empty when there is none."""
    return next((f"{gpu.name}: {gpu.error}" for gpu in gpus if gpu.error), "")


def _model_loaded(facts: Facts) -> CheckResult:
    if facts.models is None:
        return _unknown("vLLM has not listed its models yet")
    lengths = facts.models.lengths
    if missing := [name for name in facts.served_names if name not in lengths]:
        return _bad(f"vLLM does not serve {', '.join(missing)}")
    length = lengths[facts.served_names[0]]
    if facts.max_model_len is not None and length != facts.max_model_len:
        return _bad(f"the longest context is {length} tokens, not {facts.max_model_len} as ordered")
    return _good(f"vLLM serves {', '.join(facts.served_names)}")


def _parameters_accessible(facts: Facts) -> CheckResult:
    if facts.watch is None:
        return _unknown("the first probe has not been answered yet")
    if facts.watch.wrong > WRONG_ALLOWED:
        return _bad(facts.watch.wrong_reason)
    return _good("the probe's tokens and probabilities are those of the start")


def _inference_working(facts: Facts) -> CheckResult:
    watch = facts.watch
    if watch is None:
        return _unknown("the replica has not been ready yet")
    if watch.stalled_seconds >= facts.limits.stall_seconds:
        return _bad("the engine has requests and takes no step")
    if watch.unanswered_seconds:
        return _bad("the idle engine does not answer a probe")
    return _good("the engine takes steps or answers probes")


def _memory_available(facts: Facts) -> CheckResult:
    if fault := gpu_fault(facts.gpus):
        return _bad(fault)
    if any(gpu.free_bytes is not None and gpu.free_bytes < LEAST_FREE_GPU_BYTES for gpu in facts.gpus):
        return _bad("a GPU has almost no memory left")
    memory = facts.memory
    if memory and memory.limit_bytes and memory.used_bytes >= FULL_MEMORY * memory.limit_bytes:
        return _bad("the pod's memory is almost used up; raise spec.pod.resources.memory")
    if facts.kv_cache_usage is not None and facts.kv_cache_usage >= FULL_CACHE:
        # Load is no fault: requests wait their turn, or are computed again.
        return _good("the key-value cache is full, and requests wait for room in it")
    if facts.kv_cache_usage is None:
        return _unknown("vLLM has not said how full its key-value cache is")
    return _good("there is room in the key-value cache and in memory")


def _good(detail: str) -> CheckResult:
    return CheckResult(ok=True, detail=detail)


def _bad(detail: str) -> CheckResult:
    return CheckResult(ok=False, detail=detail)


def _unknown(detail: str) -> CheckResult:
    return CheckResult(ok=None, detail=detail)
