"""What a replica's server is told."""

from gptoss_operator.api.rollout import GoldenPrompt
from gptoss_operator.api.spec import GptOssSpec, served_name
from gptoss_operator.core.render.engine import engine_options
from gptoss_operator.core.sources import compile_cache, model_reference, weights_for_server
from gptoss_runtime.orders import GoldenOrder, ServerOrders


ENDPOINT_GRACE_SECONDS = 3
"""How long a leaving replica still accepts requests: gateways ask its agent every 250 ms."""


def server_orders(name: str, spec: GptOssSpec, tensor_parallel: int) -> ServerOrders:
    """Return what the replica's server is told."""
    return ServerOrders(
        model=model_reference(spec),
        weights=weights_for_server(spec),
        compile_cache=compile_cache(spec),
        served_names=(served_name(spec, name),),
        tensor_parallel_size=tensor_parallel,
        max_model_len=spec.engine.max_model_len,
        max_num_seqs=spec.engine.max_num_seqs,
        gpu_memory_utilization=spec.engine.gpu_memory_utilization,
        engine=engine_options(spec.engine),
        built_in_prompts=tuple(str(prompt) for prompt in spec.rollout.gates.built_in),
        golden_prompts=tuple(_golden(prompt) for prompt in spec.rollout.gates.prompts),
        extra_args=spec.engine.extra_args,
        stall_seconds=spec.health.stall_seconds,
        restart_seconds=spec.health.restart_seconds,
        probe_seconds=spec.health.probe_seconds,
        cloud=spec.interruption.cloud,
        drain_seconds=spec.drain_seconds,
        endpoint_grace_seconds=ENDPOINT_GRACE_SECONDS,
    )


def _golden(prompt: GoldenPrompt) -> GoldenOrder:
    return GoldenOrder(
        name=prompt.name,
        prompt=prompt.prompt,
        contains=prompt.contains,
        json_schema=prompt.json_schema or "",
        max_tokens=prompt.max_tokens,
    )
