"""Find the line of vLLM's output that says why it ended, and what a user can do about it. Pure.

vLLM runs several processes; the last exception printed is the front's "see root cause above", and the cause is above.
"""

import re
from collections.abc import Sequence

from gptoss_runtime.server.variables import remedy_for


MAX_CHARACTERS = 700
"""Of a cause. A pod's status keeps 4096 bytes; a condition should be read at a glance."""

_PREFIX = re.compile(r"^(?:\([\w .=-]+\) ?)*(?:(?:ERROR|CRITICAL|WARNING|INFO|DEBUG) \d\d-\d\d [\d:.]+ \[[^\]]*\] ?)?")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_EXCEPTION = re.compile(r"^(?:\w+\.)*(\w*(?:Error|Exception|Interrupt|Exit|Timeout|Failure))(?::\s*(.*))?$")
_ARGPARSE = re.compile(r"^[\w ./-]+: error: (.*)$")
_ENGINE = re.compile(r"^(?:\x1b\[[0-9;]*m)*\((?:EngineCore|Worker)")
_DIED = re.compile(r"(?:died|exited) unexpectedly")
_NOT_THE_CAUSE = re.compile(
    r"root cause|see stack trace|WorkerProc initialization failed|leaked (?:semaphore|shared_memory)"
    r"|EngineDeadError|cannot schedule new futures|^(?:KeyboardInterrupt|SystemExit|CancelledError)\b",
    re.IGNORECASE,
)
_UNKNOWN_VARIABLE = re.compile(r"Unknown vLLM environment variable detected: (\w+)")
_REMEDIES: tuple[tuple[str, str], ...] = (
    (
        r"CUDA out of memory|OutOfMemoryError|HIP out of memory",
        "raise spec.tensorParallel or lower spec.engine.maxNumSeqs",
    ),
    (r"No available memory for the cache blocks", "raise spec.tensorParallel or spec.engine.gpuMemoryUtilization"),
    (
        r"KV cache is needed|maximum model length|max seq len",
        "lower spec.engine.maxModelLen or raise spec.tensorParallel",
    ),
    (r"Free memory on device", "another process holds the GPU's memory; use a GPU of its own"),
    (r"unrecognized arguments|invalid choice|expected one argument", "correct spec.engine.extraArgs"),
    (
        r"Mxfp4 MoE backend '\w+' does not support",
        "leave out spec.engine.moeBackend, so that vLLM takes one that fits this GPU",
    ),
    (
        r"kv_cache_dtype not supported|FP8 KV cache (?:is not supported|on CPU requires)",
        "leave out spec.engine.kvCacheDtype, or choose a GPU that computes in 8 bits",
    ),
    (r"extra.config", "correct spec.engine.load.options"),
    (
        r"Please install vllm\[|runai.?model.?streamer|No module named '(?:fastsafetensors|tensorizer)",
        "choose another spec.engine.load.format, or an image that has this one",
    ),
    (r"speculative|Target and draft model", "correct spec.engine.speculation"),
    (r"GatedRepoError|gated repo|401 Client Error", "set spec.model.source.huggingFace.tokenSecretRef"),
    (r"RepositoryNotFound|RevisionNotFound|404 Client Error", "correct spec.model.source.huggingFace"),
    (
        r"LocalEntryNotFound|Name or service not known|Max retries exceeded|outgoing traffic",
        "let the pod reach the hub, or use a volume",
    ),
    (r"No space left on device", "give the replica more disk or a larger spec.pod.sharedMemory"),
    (r"MXFP4 MoE backend", "this device cannot run MXFP4 weights; choose another GPU, or weights in bf16"),
    (r"Address already in use", "the port is taken; do not use hostNetwork"),
    (
        r"CUDA driver|no CUDA-capable|Failed to infer device type|NVIDIA driver",
        "the pod sees no usable GPU; check spec.gpu",
    ),
)


def find_cause(lines: Sequence[str], *, serving: bool) -> str:
    """Return the cause in one line, with a remedy where one is known; empty when no line tells.

    What the engine's own processes raised counts most, and of several exceptions the last. A server that was `serving`
    also prints the exceptions of single requests, so there the news of the engine's death goes before them.
    """
    bare = [_bare(line) for line in lines]
    engine = [line if _ENGINE.match(raw) else "" for raw, line in zip(lines, bare, strict=True)]
    of_engine, of_any = (_exception_at, engine), (_exception_at, bare)
    usage, death = (_usage_at, bare), (_death_at, bare)
    order = (of_engine, death, of_any) if serving else (of_engine, of_any, usage, death)
    for cause_at, searched in order:
        for index in range(len(searched) - 1, -1, -1):
            if cause := cause_at(searched, index):
                return _with_remedy(_shortened(cause))
    return ""


def _bare(line: str) -> str:
    line = _ANSI.sub("", line).rstrip()
    return line[match.end() :] if (match := _PREFIX.match(line)) else line


def _exception_at(lines: Sequence[str], index: int) -> str:
    match = _EXCEPTION.match(lines[index])
    if match is None or _NOT_THE_CAUSE.search(lines[index]):
        return ""
    name, message = match[1], (match[2] or "").strip()
    if name == "ValidationError":
        # pydantic puts what matters on the lines below: "  Value error, ... [type=value_error, ...]".
        below = [line.strip() for line in lines[index + 1 : index + 3] if line.startswith(" ")]
        message = re.sub(r"\s*\[type=.*", "", " ".join(below)).removeprefix("Value error, ") or message
        name = "ValueError"
    return f"{name}: {message}" if message else name


def _usage_at(lines: Sequence[str], index: int) -> str:
    return match[1] if (match := _ARGPARSE.match(lines[index])) else ""


def _death_at(lines: Sequence[str], index: int) -> str:
    return lines[index].strip() if _DIED.search(lines[index]) else ""


def _shortened(cause: str) -> str:
    return cause if len(cause) <= MAX_CHARACTERS else cause[: MAX_CHARACTERS - 1] + "…"


def _with_remedy(cause: str) -> str:
    if match := _UNKNOWN_VARIABLE.search(cause):
        return f"{cause.rstrip('.')}. Remedy: {remedy_for(match[1])}"
    for pattern, remedy in _REMEDIES:
        if re.search(pattern, cause, re.IGNORECASE):
            return f"{cause.rstrip('.')}. Remedy: {remedy}"
    return cause
