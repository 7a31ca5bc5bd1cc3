"""What is wrong with the orders' values, whatever the pod is. Pure.

A document may hold anything; the contract does not look into its fields.
"""

from collections.abc import Iterator

from gptoss_runtime.orders import Cloud, ServerOrders
from gptoss_runtime.server.flags import is_whole
from gptoss_runtime.server.golden import BuiltIn


TENSOR_PARALLEL_SIZES = (1, 2, 4, 8)
"""gpt-oss has 8 key-value heads, which vLLM shares out and does not replicate."""


def refuse_values(orders: ServerOrders) -> tuple[str, ...]:
    """Return a sentence with a remedy for each value that cannot be; those of the engine are checked in `flags`."""
    return (
        *_refuse_sizes(orders),
        *_refuse_names(orders.served_names),
        *_refuse_places(orders),
        *_refuse_prompts(orders),
    )


def _refuse_sizes(orders: ServerOrders) -> tuple[str, ...]:
    refusals = []
    if not is_whole(orders.tensor_parallel_size, 1) or orders.tensor_parallel_size not in TENSOR_PARALLEL_SIZES:
        refusals.append(
            f"tensor parallel size {orders.tensor_parallel_size!r} does not divide the model: "
            "set spec.tensorParallel to 1, 2, 4 or 8"
        )
    max_model_len = 1 if orders.max_model_len is None else orders.max_model_len
    smallest = {
        "max_num_seqs": (orders.max_num_seqs, 1, "spec.engine.maxNumSeqs"),
        "max_model_len": (max_model_len, 1, "spec.engine.maxModelLen"),
        "stall_seconds": (orders.stall_seconds, 1, "spec.health.stallSeconds"),
        "restart_seconds": (orders.restart_seconds, 1, "spec.health.restartSeconds"),
        "probe_seconds": (orders.probe_seconds, 1, "spec.health.probeSeconds"),
        "drain_seconds": (orders.drain_seconds, 0, "spec.drainSeconds"),
        "endpoint_grace_seconds": (orders.endpoint_grace_seconds, 0, "the operator's settings"),
    }
    for name, (value, least, where) in smallest.items():
        if not is_whole(value, least):
            refusals.append(f"{name} is {value!r}: set {where} to a whole number of at least {least}")
    if not refusals and orders.restart_seconds < orders.stall_seconds:
        refusals.append(
            f"restart_seconds is {orders.restart_seconds}: set spec.health.restartSeconds to at least "
            f"spec.health.stallSeconds, which is {orders.stall_seconds}"
        )
    share = orders.gpu_memory_utilization
    if share is not None and not (isinstance(share, int | float) and share is not True and 0 < share <= 1):
        refusals.append(f"gpu_memory_utilization is {share!r}: set spec.engine.gpuMemoryUtilization between 0 and 1")
    return tuple(refusals)


def _refuse_names(served_names: tuple[str, ...]) -> tuple[str, ...]:
    if not served_names:
        return ("no served name: set spec.model.servedName",)
    bad = [name for name in served_names if not name or name.startswith("-") or any(c.isspace() for c in name)]
    return tuple(f"{name!r} cannot be a served name: set spec.model.servedName" for name in bad)


def _refuse_places(orders: ServerOrders) -> Iterator[str]:
    if not isinstance(orders.cloud, str) or orders.cloud not in tuple(Cloud):
        yield f"cloud is {orders.cloud!r}: set spec.interruption.cloud to one of {', '.join(Cloud)}"
    if orders.compile_cache and not orders.compile_cache.startswith("/"):
        yield f"compile_cache is {orders.compile_cache!r}: an absolute path is needed; the operator writes it"
    weights = orders.weights
    if weights is None:
        return
    if "://" not in weights.source:
        yield f"no weights come from {weights.source!r}: set spec.model.source"
    if not weights.directory.startswith("/") or orders.model != weights.directory:
        yield (
            f"weights go to {weights.directory!r} and the model is {orders.model!r}: they must be the same directory; "
            "the operator writes both from spec.model.source"
        )


def _refuse_prompts(orders: ServerOrders) -> Iterator[str]:
    for name in orders.built_in_prompts:
        if name not in tuple(BuiltIn):
            known = ", ".join(BuiltIn)
            yield f"there is no built-in prompt {name!r}: set spec.rollout.gates.builtIn to some of {known}"
    for prompt in orders.golden_prompts:
        texts = (prompt.name, prompt.prompt, prompt.json_schema, *prompt.contains)
        if not all(isinstance(text, str) for text in texts) or not prompt.prompt or not is_whole(prompt.max_tokens, 1):
            yield f"the golden prompt {prompt.name!r} makes no sense: correct it in spec.rollout.gates.prompts"
