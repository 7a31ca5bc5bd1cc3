"""Where compilers keep what they made, so that a later start of the same engine can use it. Pure."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType


CACHES = MappingProxyType(
    {
        "VLLM_CACHE_ROOT": "vllm",  # also torch.compile's, DeepGEMM's, FlashInfer's tuning, and the startup plan
        "TRITON_CACHE_DIR": "triton",
        "TORCHINDUCTOR_CACHE_DIR": "inductor",
        "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    }
)
"""Variables that say where each of them writes, and the directory's name."""

DIGEST_LENGTH = 12
_SAY_NOTHING_OF_THE_ENGINE = frozenset(
    {
        "--host",
        "--port",
        "--served-model-name",
        "--shutdown-timeout",
        "--middleware",
        "--enable-server-load-tracking",
        "--disable-access-log-for-endpoints",
        "--fail-on-environ-validation",
        "--enable-auto-tool-choice",
        "--tool-call-parser",
        "--max-num-queued-reqs",
        "--max-num-queued-tokens",
        "--scheduling-policy",
        "--stream-interval",
        "--load-format",
        "--safetensors-load-strategy",
        "--model-loader-extra-config",
    }
)
"""Arguments with which the engine compiles the same, and measures the same memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What decides whether two starts compile the same."""

    version: str
    """vLLM's; empty where it is unknown."""
    gpu_names: tuple[str, ...]
    """One for each GPU; empty where they are unknown, or where there are none."""
    tensor_parallel_size: int
    pipeline_parallel_size: int
    arguments: tuple[str, ...]
    """After `vllm serve`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheChoice:
    """Where this start's caches are, and why."""

    environment: dict[str, str]
    """Empty: the pod's own directories stay, which are gone with it."""
    reason: str


def choose_caches(directory: str, *, writable: bool, engine: Engine) -> CacheChoice:
    """Return the caches of `engine` below `directory`.

    vLLM tells compiled code of different models and settings apart, but not of different GPUs, and the memory that it
    once measured not by its gpu_memory_utilization. So each engine has a directory of its own.
    """
    if not directory:
        return CacheChoice(environment={}, reason="no cache outlives the pod")
    if not writable:
        return CacheChoice(
            environment={},
            reason=f"compiles anew at each start: {directory} cannot be written to; let user 10001 write there",
        )
    if not engine.version or not engine.gpu_names:
        unknown = "GPU" if engine.version else "vLLM's version"
        return CacheChoice(
            environment={},
            reason=f"compiles anew at each start: {unknown} is unknown, and what one compiles breaks another",
        )
    own = f"{directory.rstrip('/')}/{engine_key(engine)}"
    return CacheChoice(
        environment={name: f"{own}/{below}" for name, below in CACHES.items()}, reason=f"compiled code is kept in {own}"
    )


def engine_key(engine: Engine) -> str:
    """Return the name of an engine's directory: readable, and another one for each engine."""
    gpus = "-".join(sorted(set(engine.gpu_names)))
    sizes = f"tp{engine.tensor_parallel_size}-pp{engine.pipeline_parallel_size}"
    decisive = "\0".join((*sorted(engine.gpu_names), *_decisive(engine.arguments)))
    digest = hashlib.sha256(decisive.encode()).hexdigest()[:DIGEST_LENGTH]
    return f"{_readable(engine.version)}-{_readable(gpus)}-{sizes}-{digest}"


def _readable(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+]+", "-", name)[:64].strip("-.")


def _decisive(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the arguments that say something of the engine, each with its values."""
    passed = False
    for argument in arguments:
        if argument.startswith("--"):
            passed = argument.partition("=")[0] in _SAY_NOTHING_OF_THE_ENGINE
        if not passed:
            yield argument
