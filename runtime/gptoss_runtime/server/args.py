"""From the server's orders to vLLM's command line and environment. Pure.

Facts come in, a command or a refusal comes out. Flags and variables are those of vLLM 0.32.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gptoss_runtime.contract import OPENAI_PORT
from gptoss_runtime.orders import ServerOrders
from gptoss_runtime.server.books import IN_FLIGHT_PATH, NUMBERS_PATH, TOKENS_PATH
from gptoss_runtime.server.owned import refusals_of


MIDDLEWARE = "gptoss_runtime.server.middleware.Middleware"
QUIET_PATHS = f"/health,/metrics,/load,/ping,{IN_FLIGHT_PATH},{TOKENS_PATH},{NUMBERS_PATH}"
"""What is asked all the time, and not logged."""
TENSOR_PARALLEL_SIZES = (1, 2, 4, 8)
"""gpt-oss has 8 key-value heads, which vLLM shares out and does not replicate."""
SHUTDOWN_BACKSTOP_SECONDS = 10
"""What vLLM grants running requests after its SIGTERM. The drain has ended before; this is for what slipped in."""
READY_TIMEOUT_SECONDS = 3600
"""How long vLLM may take to load. Its own default of 600 s ends a first download of the weights."""
CPU_KV_CACHE_GIB = 1
"""Memory for the key-value cache on a machine without GPU. vLLM would take a large share of the whole machine's."""


class BadOrdersError(ValueError):
    """The orders cannot be carried out on this pod; the message says why, and what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDirectory:
    """What the pod's file system says of the model's path."""

    exists: bool
    has_config: bool
    """Whether it holds a readable config.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """What has to be known of the pod to plan the command."""

    model_directory: ModelDirectory | None
    """None when the model is a Hugging Face repository."""
    device: str = ""
    """`cpu` where the image holds vLLM's CPU build; otherwise empty."""
    allowed_cpus: tuple[int, ...] = ()
    """CPUs that the pod may run on."""
    ipv6_only: bool = False
    """Whether the pod's address is an IPv6 one."""
    environment: Mapping[str, str]
    """Environment of the server, the user's variables included."""
    openai_port: int = OPENAI_PORT


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How vLLM is to be started."""

    arguments: tuple[str, ...]
    """After `vllm serve`."""
    environment: dict[str, str]
    """The whole environment."""


def is_directory(model: str) -> bool:
    """Return whether `model` names a path, and not a repository."""
    return model.startswith(("/", "."))


def check_orders(orders: ServerOrders, facts: PodFacts) -> None:
    """Raise BadOrdersError with everything that is wrong, as far as it shows before the weights are fetched."""
    if refusals := refuse(orders, facts, fetched=orders.weights is None):
        raise BadOrdersError("; ".join(refusals))


def plan_command(orders: ServerOrders, facts: PodFacts) -> Command:
    """Return how to start vLLM for `orders`, whose weights have been fetched.

    Raises BadOrdersError with everything that is wrong, not only the first of it.
    """
    if refusals := refuse(orders, facts):
        raise BadOrdersError("; ".join(refusals))
    return Command(arguments=_arguments(orders, facts), environment=_environment(orders, facts))


def refuse(orders: ServerOrders, facts: PodFacts, *, fetched: bool = True) -> tuple[str, ...]:
    """Return what is wrong with `orders` on this pod, a sentence with a remedy each.

    While the weights are not `fetched`, their directory is not looked at.
    """
    return (
        *_refuse_model(orders.model, facts.model_directory if fetched else None),
        *_refuse_sizes(orders),
        *_refuse_names(orders.served_names),
        *refusals_of(orders.extra_args),
        *_refuse_cpus(orders.tensor_parallel_size, facts),
    )


def bind_cpus(tensor_parallel_size: int, allowed_cpus: Iterable[int]) -> str:
    """Return VLLM_CPU_OMP_THREADS_BIND: the allowed CPUs in one group for each rank, as `0,1|2,3`.

    Said explicitly because vLLM binds each rank to a NUMA node of its own, and ends where there are fewer nodes than
    ranks. CPUs left over by an uneven division go to the first ranks.
    """
    cpus = sorted(allowed_cpus)
    size, left_over = divmod(len(cpus), tensor_parallel_size)
    groups = []
    for rank in range(tensor_parallel_size):
        start = rank * size + min(rank, left_over)
        groups.append(cpus[start : start + size + (rank < left_over)])
    return "|".join(",".join(str(cpu) for cpu in group) for group in groups)


def _refuse_model(model: str, directory: ModelDirectory | None) -> tuple[str, ...]:
    if not model or model.startswith("-"):
        return (f"{model!r} is no model: set spec.model",)
    if directory is None:
        return ()
    if not directory.exists:
        return (f"no directory {model} in the pod: mount the model there or correct spec.model.source",)
    if not directory.has_config:
        return (f"no config.json in {model}: mount the model there or correct spec.model.source",)
    return ()


def _refuse_sizes(orders: ServerOrders) -> tuple[str, ...]:
    refusals = []
    if orders.tensor_parallel_size not in TENSOR_PARALLEL_SIZES:
        refusals.append(
            f"tensor parallel size {orders.tensor_parallel_size!r} does not divide the model: "
            "set spec.tensorParallel to 1, 2, 4 or 8"
        )
    smallest = {
        "max_num_seqs": (orders.max_num_seqs, 1, "spec.engine.maxNumSeqs"),
        "max_model_len": (1 if orders.max_model_len is None else orders.max_model_len, 1, "spec.engine.maxModelLen"),
        "drain_seconds": (orders.drain_seconds, 0, "spec.drainSeconds"),
        "endpoint_grace_seconds": (orders.endpoint_grace_seconds, 0, "the operator's settings"),
    }
    for name, (value, least, where) in smallest.items():
        # A document may hold anything; the contract does not look into its fields.
        if not isinstance(value, int) or value < least:
            refusals.append(f"{name} is {value!r}: set {where} to a whole number of at least {least}")
    share = orders.gpu_memory_utilization
    if share is not None and not (isinstance(share, int | float) and 0 < share <= 1):
        refusals.append(f"gpu_memory_utilization is {share!r}: set spec.engine.gpuMemoryUtilization between 0 and 1")
    return tuple(refusals)


def _refuse_names(served_names: tuple[str, ...]) -> tuple[str, ...]:
    if not served_names:
        return ("no served name: set spec.model.servedName",)
    bad = [name for name in served_names if not name or name.startswith("-") or any(c.isspace() for c in name)]
    return tuple(f"{name!r} cannot be a served name: set spec.model.servedName" for name in bad)


def _refuse_cpus(tensor_parallel_size: int, facts: PodFacts) -> tuple[str, ...]:
    if facts.device == "cpu" and 0 < len(facts.allowed_cpus) < tensor_parallel_size:
        needed, allowed = tensor_parallel_size, len(facts.allowed_cpus)
        return (
            f"tensor parallel size {needed} needs {needed} CPUs, the pod may use {allowed}: lower spec.tensorParallel",
        )
    return ()


def _arguments(orders: ServerOrders, facts: PodFacts) -> tuple[str, ...]:
    arguments = [
        orders.model,
        *("--host", "::" if facts.ipv6_only else "0.0.0.0"),  # noqa: S104 - the gateway comes from other pods
        *("--port", str(facts.openai_port)),
        *("--served-model-name", *orders.served_names),
        *("--tensor-parallel-size", str(orders.tensor_parallel_size)),
        *("--max-num-seqs", str(orders.max_num_seqs)),
        *("--shutdown-timeout", str(SHUTDOWN_BACKSTOP_SECONDS)),
        *("--middleware", MIDDLEWARE),
        "--enable-server-load-tracking",
        *("--disable-access-log-for-endpoints", QUIET_PATHS),
        "--fail-on-environ-validation",
        "--enable-auto-tool-choice",
        *("--tool-call-parser", "openai"),
    ]
    if orders.revision:
        arguments += ["--revision", orders.revision]
    if orders.max_model_len is not None:
        arguments += ["--max-model-len", str(orders.max_model_len)]
    if orders.gpu_memory_utilization is not None:
        arguments += ["--gpu-memory-utilization", str(orders.gpu_memory_utilization)]
    if facts.device == "cpu":
        # Compiling for a CPU takes minutes and a C++ compiler in the image.
        arguments.append("--enforce-eager")
    return (*arguments, *orders.extra_args)


def _environment(orders: ServerOrders, facts: PodFacts) -> dict[str, str]:
    defaults = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_ENGINE_READY_TIMEOUT_S": str(READY_TIMEOUT_SECONDS),
    }
    if facts.model_directory is not None:
        defaults["HF_HUB_OFFLINE"] = "1"
    if facts.device == "cpu":
        defaults["VLLM_CPU_KVCACHE_SPACE"] = str(CPU_KV_CACHE_GIB)
        if orders.tensor_parallel_size > 1 and facts.allowed_cpus:
            defaults["VLLM_CPU_OMP_THREADS_BIND"] = bind_cpus(orders.tensor_parallel_size, facts.allowed_cpus)
    # An engine that died must end the process: that is how the server learns of it.
    return {**defaults, **facts.environment, "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH": "0"}
