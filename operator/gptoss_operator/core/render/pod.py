"""The pod of one replica: gptoss-server as PID 1, with the GPUs, the weights and room to write."""

from typing import Any, assert_never

from gptoss_operator.api.model import (
    HostPathSource,
    HuggingFaceSource,
    ImageSource,
    ObjectStoreSource,
    PersistentVolumeClaimSource,
)
from gptoss_operator.api.names import COMPONENT_REPLICA, LABEL_COMPONENT, REPLICA_CONTAINER, identity
from gptoss_operator.api.spec import EnvVar, GptOssSpec, model_source
from gptoss_operator.core.observation import Manifest
from gptoss_operator.core.render.common import CONTAINER_SECURITY, POD_SECURITY, http_probe
from gptoss_operator.core.render.options import RenderOptions
from gptoss_operator.core.render.orders import ENDPOINT_GRACE_SECONDS, MODEL_DIR, chosen_source, server_orders
from gptoss_runtime.contract import AGENT_PORT, HEALTH_PORT, OPENAI_PORT
from gptoss_runtime.orders import SERVER_ENV


CACHE_DIR = "/cache"
"""Where vLLM, its compilers and the hub client write."""
TEARDOWN_SECONDS = 30
"""vLLM takes up to 12 s to end after its last request (measured on 0.32), and is killed 20 s after it was asked."""
START_MINUTES = 60
"""A first start may download 65 GB and compile."""

WRITABLE_ENV = {
    "HOME": "/tmp",  # noqa: S108 - an emptyDir of this pod alone
    "USER": "gptoss",
    "LOGNAME": "gptoss",
    "HF_HOME": f"{CACHE_DIR}/huggingface",
    "VLLM_CACHE_ROOT": f"{CACHE_DIR}/vllm",
    "VLLM_CONFIG_ROOT": f"{CACHE_DIR}/vllm-config",
    "TRITON_CACHE_DIR": f"{CACHE_DIR}/triton",
    "TORCHINDUCTOR_CACHE_DIR": f"{CACHE_DIR}/inductor",
    "XDG_CACHE_HOME": CACHE_DIR,
    "XDG_CONFIG_HOME": f"{CACHE_DIR}/config",
}
"""Where programs that expect a home directory may write: the root file system is read-only, the user has no entry."""


def pod_template(name: str, spec: GptOssSpec, image: str, tensor_parallel: int, options: RenderOptions) -> Manifest:
    """Return the pod template of a replica. It is the same for every slot, so its digest is the revision.

    `tensor_parallel` is what `auto` was decided to be, or what the user says.
    """
    volumes, mounts = _volumes(spec)
    pod: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "terminationGracePeriodSeconds": ENDPOINT_GRACE_SECONDS + spec.drain_seconds + TEARDOWN_SECONDS,
        "containers": [
            {
                "name": REPLICA_CONTAINER,
                "image": image,
                "imagePullPolicy": options.image_pull_policy,
                "command": ["gptoss-server"],
                "env": _environment(name, spec, tensor_parallel),
                "ports": [
                    {"name": "http", "containerPort": OPENAI_PORT, "protocol": "TCP"},
                    {"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"},
                    {"name": "agent", "containerPort": AGENT_PORT, "protocol": "TCP"},
                ],
                "resources": _resources(spec, tensor_parallel),
                "securityContext": CONTAINER_SECURITY,
                "startupProbe": http_probe("/startupz", HEALTH_PORT, period_seconds=2, failures=START_MINUTES * 30),
                "readinessProbe": http_probe("/readyz", HEALTH_PORT, period_seconds=2, failures=1),
                "livenessProbe": http_probe("/livez", HEALTH_PORT, period_seconds=10, failures=3),
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
        "tolerations": _tolerations(spec),
        **_placement(spec),
    }
    return {
        "metadata": {
            "labels": {**spec.pod.labels, **identity(name), LABEL_COMPONENT: COMPONENT_REPLICA},
            **({"annotations": spec.pod.annotations} if spec.pod.annotations else {}),
        },
        "spec": pod,
    }


def _environment(name: str, spec: GptOssSpec, tensor_parallel: int) -> list[Manifest]:
    plain = [{"name": key, "value": value} for key, value in WRITABLE_ENV.items()]
    source = model_source(spec).hugging_face
    token = source.token_secret_ref if source else None
    hub = [_secret_env("HF_TOKEN", token.name, token.key)] if token else []
    return [
        *plain,
        *hub,
        *(_env(variable) for variable in spec.pod.env),
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": SERVER_ENV, "value": server_orders(name, spec, tensor_parallel).encode()},
    ]


def _env(variable: EnvVar) -> Manifest:
    if variable.secret_key_ref:
        return _secret_env(variable.name, variable.secret_key_ref.name, variable.secret_key_ref.key)
    return {"name": variable.name, "value": variable.value or ""}


def _secret_env(name: str, secret: str, key: str) -> Manifest:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def _resources(spec: GptOssSpec, tensor_parallel: int) -> Manifest:
    gpus = {spec.gpu.resource: str(tensor_parallel * spec.engine.pipeline_parallel)}
    wanted = spec.pod.resources
    memory = {"memory": wanted.memory} if wanted.memory else {}
    cpu = {"cpu": wanted.cpu} if wanted.cpu else {}
    return {"requests": {**cpu, **memory, **gpus}, "limits": {**memory, **gpus}}


def _volumes(spec: GptOssSpec) -> tuple[list[Manifest], list[Manifest]]:
    """Return the pod's volumes and where the server sees them."""
    volumes: list[Manifest] = [
        {"name": "tmp", "emptyDir": {}},
        {"name": "cache", "emptyDir": {}},
        # A container's own /dev/shm has 64 MiB, too little for tensor parallel workers.
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": spec.pod.shared_memory}},
    ]
    mounts: list[Manifest] = [
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - this is where the emptyDir is mounted
        {"name": "cache", "mountPath": CACHE_DIR},
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - the same
    ]
    weights: dict[str, Any] | None
    match chosen := chosen_source(model_source(spec)):
        case HuggingFaceSource() | ObjectStoreSource():
            weights = None
        case ImageSource():
            weights = {"image": {"reference": chosen.reference}}
        case PersistentVolumeClaimSource():
            weights = {"persistentVolumeClaim": {"claimName": chosen.claim_name, "readOnly": True}}
        case HostPathSource():
            weights = {"hostPath": {"path": chosen.path, "type": ""}}
        case _:
            assert_never(chosen)
    if weights:
        volumes.append({"name": "model", **weights})
        mounts.append({"name": "model", "mountPath": MODEL_DIR, "readOnly": True})
    return volumes, mounts


def _tolerations(spec: GptOssSpec) -> list[Manifest]:
    """Return the user's tolerations, and one for the taint that GPU nodes commonly carry."""
    gpu = {"key": spec.gpu.resource, "operator": "Exists", "effect": "NoSchedule"}
    return [gpu, *(t.model_dump(by_alias=True, exclude_none=True) for t in spec.gpu.tolerations)]


def _placement(spec: GptOssSpec) -> Manifest:
    """Return the optional fields of the pod spec that the user set."""
    optional: Manifest = {
        "nodeSelector": spec.gpu.node_selector,
        "runtimeClassName": spec.gpu.runtime_class_name,
        "priorityClassName": spec.pod.priority_class_name,
        "serviceAccountName": spec.pod.service_account_name,
        "imagePullSecrets": [{"name": name} for name in spec.pod.image_pull_secrets],
    }
    return {key: value for key, value in optional.items() if value}
