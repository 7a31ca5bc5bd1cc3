"""From the server's orders to vLLM's command line and environment. Pure.

Facts come in, a command or a refusal comes out. Flags and variables are those of vLLM 0.32.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gptoss_runtime.contract import OPENAI_PORT
from gptoss_runtime.orders import ServerOrders
from gptoss_runtime.server.books import IN_FLIGHT_PATH, NUMBERS_PATH, TOKENS_PATH
from gptoss_runtime.server.combinations import refuse_combinations
from gptoss_runtime.server.compile_cache import CacheChoice, Engine, choose_caches
from gptoss_runtime.server.flags import engine_arguments, left_out, refuse_options
from gptoss_runtime.server.owned import refusals_of
from gptoss_runtime.server.values import refuse_values
from gptoss_runtime.server.variables import refuse_variables


MIDDLEWARE = "gptoss_runtime.server.middleware.Middleware"
QUIET_PATHS = f"/health,/metrics,/load,/ping,{IN_FLIGHT_PATH},{TOKENS_PATH},{NUMBERS_PATH}"
"""What is asked all the time, and not logged."""
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
    """None when the model is a Hugging Face repository, or in an object store."""
    draft_directory: ModelDirectory | None = None
    """The same of the draft model. None also when there is none."""
    device: str = ""
    """`cpu` where the image holds vLLM's CPU build; otherwise empty."""
    vllm_version: str = ""
    """Of the vLLM beside this server. Empty: it is unknown."""
    known_variables: frozenset[str] | None = None
    """Environment variables that it knows. None: they are unknown, and vLLM refuses by itself."""
    gpu_names: tuple[str, ...] = ()
    """One for each GPU of the pod. Empty: there are none, or nothing says which."""
    compile_cache_writable: bool = False
    """Whether the orders' directory for compiled code can be written to."""
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
    notes: tuple[str, ...] = ()
    """What people should know of it, a sentence each."""


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
    arguments = _arguments(orders, facts)
    caches = _caches(orders, facts, arguments)
    return Command(
        arguments=arguments,
        environment=_environment(orders, facts, caches),
        notes=_notes(orders, facts, caches),
    )


def refuse(orders: ServerOrders, facts: PodFacts, *, fetched: bool = True) -> tuple[str, ...]:
    """Return what is wrong with `orders` on this pod, a sentence with a remedy each.

    While the weights are not `fetched`, their directory is not looked at.
    """
    refusals = (
        *_refuse_model(orders.model, facts.model_directory if fetched else None),
        *refuse_values(orders),
        *refuse_options(orders.engine),
        *refusals_of(orders.extra_args),
        *refuse_variables(facts.environment, facts.known_variables),
    )
    # What is together, only where each by itself is right.
    return refusals or (
        *refuse_combinations(orders, cpu=facts.device == "cpu"),
        *_refuse_draft(orders, facts.draft_directory),
        *_refuse_cpus(_ranks(orders), facts),
    )


def bind_cpus(ranks: int, allowed_cpus: Iterable[int]) -> str:
    """Return VLLM_CPU_OMP_THREADS_BIND: the allowed CPUs in one group for each rank, as `0,1|2,3`.

    Said explicitly because vLLM binds each rank to a NUMA node of its own, and ends where there are fewer nodes than
    ranks. CPUs left over by an uneven division go to the first ranks.
    """
    cpus = sorted(allowed_cpus)
    size, left_over = divmod(len(cpus), ranks)
    groups = []
    for rank in range(ranks):
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


def _refuse_draft(orders: ServerOrders, directory: ModelDirectory | None) -> Iterator[str]:
    if directory is not None and not directory.has_config and orders.engine.speculation:
        path = orders.engine.speculation.model
        yield f"no config.json in {path}: mount the draft model there or correct spec.engine.speculation.model"


def _refuse_cpus(ranks: int, facts: PodFacts) -> tuple[str, ...]:
    if facts.device == "cpu" and 0 < len(facts.allowed_cpus) < ranks:
        allowed = len(facts.allowed_cpus)
        remedy = "lower spec.tensorParallel or spec.engine.pipelineParallel"
        return (f"{ranks} ranks need {ranks} CPUs, the pod may use {allowed}: {remedy}",)
    return ()


def _ranks(orders: ServerOrders) -> int:
    """Return the number of vLLM's workers: one for each GPU, or for each group of CPUs."""
    return orders.tensor_parallel_size * orders.engine.pipeline_parallel_size


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
    return (*arguments, *engine_arguments(orders.engine, cpu=facts.device == "cpu"), *orders.extra_args)


def _caches(orders: ServerOrders, facts: PodFacts, arguments: tuple[str, ...]) -> CacheChoice:
    return choose_caches(
        orders.compile_cache,
        writable=facts.compile_cache_writable,
        engine=Engine(
            version=facts.vllm_version,
            gpu_names=facts.gpu_names,
            tensor_parallel_size=orders.tensor_parallel_size,
            pipeline_parallel_size=orders.engine.pipeline_parallel_size,
            arguments=arguments,
        ),
    )


def _environment(orders: ServerOrders, facts: PodFacts, caches: CacheChoice) -> dict[str, str]:
    defaults = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_ENGINE_READY_TIMEOUT_S": str(READY_TIMEOUT_SECONDS),
        # What was measured of the memory at an earlier start, where the cache has it and it still fits.
        "VLLM_ENABLE_STARTUP_PLAN": "1",
    }
    if facts.model_directory is not None and not _fetches_draft(orders):
        defaults["HF_HUB_OFFLINE"] = "1"
    if facts.device == "cpu":
        if orders.engine.kv_cache_memory_bytes is None:
            # The variable would win over the argument.
            defaults["VLLM_CPU_KVCACHE_SPACE"] = str(CPU_KV_CACHE_GIB)
        if _ranks(orders) > 1 and facts.allowed_cpus:
            defaults["VLLM_CPU_OMP_THREADS_BIND"] = bind_cpus(_ranks(orders), facts.allowed_cpus)
    return {
        **defaults,
        **facts.environment,
        **caches.environment,
        # An engine that died must end the process: that is how the server learns of it.
        "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH": "0",
    }


def _fetches_draft(orders: ServerOrders) -> bool:
    """Return whether vLLM has to bring the draft model from the hub."""
    draft = orders.engine.speculation.model if orders.engine.speculation else ""
    return bool(draft) and not is_directory(draft)


def _notes(orders: ServerOrders, facts: PodFacts, caches: CacheChoice) -> tuple[str, ...]:
    cpu = facts.device == "cpu"
    alone = orders.engine.expert_parallel and orders.tensor_parallel_size == 1
    return (
        *left_out(orders.engine, cpu=cpu),
        *(("spec.engine.expertParallel has no effect on one GPU",) if alone else ()),
        *((caches.reason,) if orders.compile_cache and not cpu else ()),
    )
