"""What a replica's server is told."""

from typing import assert_never

from gptoss_operator.api.model import (
    HostPathSource,
    HuggingFaceSource,
    ImageSource,
    ModelSource,
    ObjectStoreSource,
    PersistentVolumeClaimSource,
)
from gptoss_operator.api.spec import GptOssSpec, model_source, served_name
from gptoss_runtime.orders import ServerOrders


MODEL_DIR = "/models"
"""Where a volume with weights is mounted."""
ENDPOINT_GRACE_SECONDS = 3
"""How long a leaving replica still accepts requests: gateways ask its agent every 250 ms."""

Source = HuggingFaceSource | ObjectStoreSource | ImageSource | PersistentVolumeClaimSource | HostPathSource


def server_orders(name: str, spec: GptOssSpec, tensor_parallel: int) -> ServerOrders:
    """Return what the replica's server is told."""
    source = model_source(spec)
    return ServerOrders(
        model=_model_reference(source),
        revision=source.hugging_face.revision if source.hugging_face else "",
        served_names=(served_name(spec, name),),
        tensor_parallel_size=tensor_parallel,
        max_model_len=spec.engine.max_model_len,
        max_num_seqs=spec.engine.max_num_seqs,
        gpu_memory_utilization=spec.engine.gpu_memory_utilization,
        extra_args=spec.engine.extra_args,
        stall_seconds=spec.health.stall_seconds,
        restart_seconds=spec.health.restart_seconds,
        probe_seconds=spec.health.probe_seconds,
        cloud=spec.interruption.cloud,
        drain_seconds=spec.drain_seconds,
        endpoint_grace_seconds=ENDPOINT_GRACE_SECONDS,
    )


def chosen_source(source: ModelSource) -> Source:
    """Return the one source that is set."""
    chosen = (
        source.hugging_face or source.object_store or source.image or source.persistent_volume_claim or source.host_path
    )
    if chosen is None:
        raise ValueError("a model source without a field passed the schema")
    return chosen


def _model_reference(source: ModelSource) -> str:
    match chosen := chosen_source(source):
        case HuggingFaceSource():
            return chosen.repository
        case ObjectStoreSource():
            return chosen.url
        case PersistentVolumeClaimSource() | ImageSource():
            return f"{MODEL_DIR}/{chosen.path}".rstrip("/")
        case HostPathSource():
            return MODEL_DIR
        case _:
            assert_never(chosen)
