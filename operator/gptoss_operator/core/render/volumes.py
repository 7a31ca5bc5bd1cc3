"""What a replica's pod, and a pod that fetches weights, sees of disks: scratch of its own, the cache, the model."""

from typing import Final, assert_never

from gptoss_operator.api.model import (
    HostPathSource,
    HuggingFaceSource,
    ImageSource,
    ObjectStoreSource,
    PersistentVolumeClaimSource,
)
from gptoss_operator.api.names import ANNOTATION_TRAFFIC
from gptoss_operator.api.spec import GptOssSpec, model_source
from gptoss_operator.core.observation import Manifest
from gptoss_operator.core.render.options import RenderOptions
from gptoss_operator.core.sources import CACHE_DIR, MODEL_DIR, cache_claim, chosen_source
from gptoss_runtime.contract import POD_DIRECTORY, TRAFFIC_FILE


SCRATCH_DIR: Final = "/tmp"  # noqa: S108 - an emptyDir of this pod alone
"""Where programs write what nobody else is to see. The cache may be shared, so they do not write there unasked."""

SCRATCH_ENV: Final = {
    "HOME": SCRATCH_DIR,
    "USER": "gptoss",
    "LOGNAME": "gptoss",
    "HF_HOME": f"{SCRATCH_DIR}/huggingface",
    "VLLM_CACHE_ROOT": f"{SCRATCH_DIR}/vllm",
    "VLLM_CONFIG_ROOT": f"{SCRATCH_DIR}/vllm-config",
    "TRITON_CACHE_DIR": f"{SCRATCH_DIR}/triton",
    "TORCHINDUCTOR_CACHE_DIR": f"{SCRATCH_DIR}/inductor",
    "XDG_CACHE_HOME": f"{SCRATCH_DIR}/cache",
    "XDG_CONFIG_HOME": f"{SCRATCH_DIR}/config",
}
"""Where programs that expect a home directory may write: the root file system is read-only, the user has no entry."""

TRAFFIC_FIELD: Final = f"metadata.annotations['{ANNOTATION_TRAFFIC}']"
"""Which requests the pod gets. The kubelet writes the file anew when the annotation changes."""
SCRATCH: Final[Manifest] = {"name": "tmp", "emptyDir": {}}
SCRATCH_MOUNT: Final[Manifest] = {"name": "tmp", "mountPath": SCRATCH_DIR}
CACHE_MOUNT: Final[Manifest] = {"name": "cache", "mountPath": CACHE_DIR}


def replica_volumes(deployment: str, spec: GptOssSpec, options: RenderOptions) -> tuple[list[Manifest], list[Manifest]]:
    """Return the volumes of a replica's pod and where the server sees them."""
    volumes: list[Manifest] = [
        SCRATCH,
        cache_volume(deployment, spec),
        # A container's own /dev/shm has 64 MiB, too little for tensor parallel workers.
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": spec.pod.shared_memory}},
        {"name": "pod", "downwardAPI": {"items": [{"path": TRAFFIC_FILE, "fieldRef": {"fieldPath": TRAFFIC_FIELD}}]}},
    ]
    mounts: list[Manifest] = [
        SCRATCH_MOUNT,
        CACHE_MOUNT,
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - this is where the emptyDir is mounted
        {"name": "pod", "mountPath": POD_DIRECTORY, "readOnly": True},
    ]
    if model := _model_volume(spec, options):
        volumes.append({"name": "model", **model})
        mounts.append({"name": "model", "mountPath": MODEL_DIR, "readOnly": True})
    return volumes, mounts


def cache_volume(deployment: str, spec: GptOssSpec) -> Manifest:
    """Return the volume of the cache, which pods may write to."""
    cache = spec.cache
    if claim := cache_claim(deployment, spec):
        return {"name": "cache", "persistentVolumeClaim": {"claimName": claim}}
    if cache.host_path:
        return {"name": "cache", "hostPath": {"path": cache.host_path.path, "type": "DirectoryOrCreate"}}
    limit = cache.ephemeral.size_limit if cache.ephemeral else None
    return {"name": "cache", "emptyDir": {"sizeLimit": limit} if limit else {}}


def _model_volume(spec: GptOssSpec, options: RenderOptions) -> Manifest | None:
    """Return the volume that holds the weights, without its name. None: they are fetched, or streamed."""
    match chosen := chosen_source(model_source(spec)):
        case HuggingFaceSource() | ObjectStoreSource():
            return None
        case ImageSource():
            return {"image": {"reference": chosen.reference, "pullPolicy": options.image_pull_policy}}
        case PersistentVolumeClaimSource():
            return {"persistentVolumeClaim": {"claimName": chosen.claim_name, "readOnly": True}}
        case HostPathSource():
            return {"hostPath": {"path": chosen.path, "type": ""}}
        case _:
            assert_never(chosen)
