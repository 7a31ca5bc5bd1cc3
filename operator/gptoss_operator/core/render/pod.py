"""The pod of one replica: gptoss-server as PID 1, with the GPUs, the weights and room to write."""

from gptoss_operator.api.names import COMPONENT_REPLICA, REPLICA_CONTAINER
from gptoss_operator.api.spec import GptOssSpec, gpus_of_replica
from gptoss_operator.core.observation import Manifest
from gptoss_operator.core.render.common import CONTAINER_SECURITY, POD_SECURITY, http_probe
from gptoss_operator.core.render.options import RenderOptions
from gptoss_operator.core.render.orders import ENDPOINT_GRACE_SECONDS, server_orders
from gptoss_operator.core.render.pod_parts import (
    access_env,
    access_env_from,
    pod_metadata,
    tolerations,
    users_env,
    users_fields,
)
from gptoss_operator.core.render.volumes import SCRATCH_ENV, replica_volumes
from gptoss_operator.core.sources import weights_for_job
from gptoss_runtime.contract import AGENT_PORT, HEALTH_PORT, OPENAI_PORT
from gptoss_runtime.orders import SERVER_ENV


TEARDOWN_SECONDS = 30
"""vLLM takes up to 12 s to end after its last request (measured on 0.32), and is killed 20 s after it was asked."""
WHILE_MADE = ("priorityClassName", "imagePullSecrets")
"""Fields of the pod's spec that matter only until it runs."""
START_MINUTES = 60
"""A first start may download 65 GB and compile."""


def pod_template(name: str, spec: GptOssSpec, image: str, tensor_parallel: int, options: RenderOptions) -> Manifest:
    """Return the pod template of a revision: the same for every slot. It is recorded when the revision is first made.

    `tensor_parallel` is what `auto` was decided to be, or what the user says.
    """
    volumes, mounts = replica_volumes(name, spec, options)
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
                **_environment(name, spec, tensor_parallel),
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
        "tolerations": tolerations(spec),
        **_placement(spec),
    }
    return {"metadata": pod_metadata(name, spec, COMPONENT_REPLICA), "spec": pod}


def as_made_now(template: Manifest, name: str, spec: GptOssSpec) -> Manifest:
    """Return a recorded template with what matters only while a pod is made, as the spec of now has it.

    That is labels, annotations, priority and pull secrets. It needs no other revision.
    """
    present = users_fields(spec)
    kept = {key: value for key, value in template["spec"].items() if key not in WHILE_MADE}
    fresh = {key: present[key] for key in WHILE_MADE if key in present}
    return {"metadata": pod_metadata(name, spec, COMPONENT_REPLICA), "spec": {**kept, **fresh}}


def _environment(name: str, spec: GptOssSpec, tensor_parallel: int) -> Manifest:
    """Return the server's `env`, and `envFrom` if it has one. What a Job has fetched is used without any secret."""
    draft = spec.engine.speculation.model if spec.engine.speculation else None
    brings_draft = draft is not None and not draft.startswith("/")
    reaches_source = brings_draft or not weights_for_job(spec)
    env = [
        *({"name": key, "value": value} for key, value in SCRATCH_ENV.items()),
        *(access_env(spec) if reaches_source else ()),
        *users_env(spec),
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": SERVER_ENV, "value": server_orders(name, spec, tensor_parallel).encode()},
    ]
    env_from = access_env_from(spec) if reaches_source else []
    return {"env": env, **({"envFrom": env_from} if env_from else {})}


def _resources(spec: GptOssSpec, tensor_parallel: int) -> Manifest:
    gpus = {spec.gpu.resource: str(gpus_of_replica(spec, tensor_parallel))}
    wanted = spec.pod.resources
    memory = {"memory": wanted.memory} if wanted.memory else {}
    cpu = {"cpu": wanted.cpu} if wanted.cpu else {}
    return {"requests": {**cpu, **memory, **gpus}, "limits": {**memory, **gpus}}


def _placement(spec: GptOssSpec) -> Manifest:
    """Return the optional fields of the pod spec that the user set."""
    optional: Manifest = {"nodeSelector": spec.gpu.node_selector, "runtimeClassName": spec.gpu.runtime_class_name}
    return {**{key: value for key, value in optional.items() if value}, **users_fields(spec)}
