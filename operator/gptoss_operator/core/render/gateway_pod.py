"""The pod of one gateway: HAProxy, the activator beside it, and a second HAProxy for long prompts.

Both helpers are native sidecars: the kubelet starts them before the HAProxy that faces clients and ends them after it,
and when one fails, only that one starts again.
"""

from dataclasses import dataclass

from gptoss_operator.api.names import (
    ACTIVATOR_CONTAINER,
    COMPONENT_GATEWAY,
    GATEWAY_CONTAINER,
    LONG_PROMPTS_CONTAINER,
    gateway,
    selector,
)
from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.core.observation import Manifest, Owner
from gptoss_operator.core.render.common import CONTAINER_SECURITY, POD_SECURITY, http_probe
from gptoss_operator.core.render.gateway_volumes import GatewayVolume, gateway_volumes, mounts
from gptoss_operator.core.render.haproxy.files import ENDPOINT_GRACE_SECONDS, LONG_FILE, MAIN_FILE, leave_path
from gptoss_operator.core.render.haproxy.long_config import HEADROOM_BYTES
from gptoss_operator.core.render.haproxy.main_config import LONG_CONNECTIONS
from gptoss_operator.core.render.options import RenderOptions
from gptoss_runtime.gateway_contract import (
    ACTIVATOR_PORT,
    CONFIG_DIRECTORY,
    GATEWAY_PORT,
    HAPROXY_HEALTH_PORT,
    USAGE_PORT,
)


TEARDOWN_SECONDS = 5
"""What the sidecars may take to end after HAProxy."""

MIB = 2**20
ACTIVATOR_MIB = 192
"""Python with its libraries, the maps, and histograms of many tenants: about 60 MiB, and room for a burst."""
HELD_KIB = 64
"""One held request, of at most HAProxy's buffer of 16 KiB. 15 were measured for a prompt of 10 KB; the answer to one
that was held for long passes through, too."""
CACHE_PERCENT = 125
"""The cache counts the bytes of answers; their keys and Python's objects come on top."""
LONG_PROMPTS_MIB = 128
"""The second HAProxy without the prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayImages:
    """What the containers run."""

    haproxy: str
    activator: str


def gateway_pod(owner: Owner, spec: GptOssSpec, images: GatewayImages, options: RenderOptions) -> Manifest:
    """Return the spec of the pod."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # As process 1 of a namespace of its own, HAProxy would lose a signal that comes before it has its handlers: a
        # pod that is deleted while it starts would stay until its grace period is over.
        "shareProcessNamespace": True,
        "securityContext": POD_SECURITY,
        "terminationGracePeriodSeconds": ENDPOINT_GRACE_SECONDS + spec.drain_seconds + TEARDOWN_SECONDS,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector(owner.name, COMPONENT_GATEWAY)},
            }
        ],
        # In this order: HAProxy reads maps at its start that the activator has written by then.
        "initContainers": [
            _activator(spec, images.activator, options),
            _long_prompts(spec, images.haproxy, options),
        ],
        "containers": [_haproxy(owner, spec, images.haproxy, options)],
        "volumes": gateway_volumes(gateway(owner.name), spec.routing),
    }


def activator_memory_mib(spec: GptOssSpec) -> int:
    """Return the activator's memory limit in MiB: everything that it may hold at once, so that it is never killed.

    It is a limit and not a request: what is not held takes no memory.
    """
    routing = spec.routing
    held = routing.hold.max_requests * HELD_KIB // 1024
    cache = routing.cache.max_megabytes * CACHE_PERCENT // 100 if routing.cache else 0
    return ACTIVATOR_MIB + held + _long_bodies_mib(spec) + cache


def _long_bodies_mib(spec: GptOssSpec) -> int:
    """Return what all bodies beyond the first HAProxy's buffers take, of which it lets only so many through."""
    return LONG_CONNECTIONS * (spec.routing.limits.max_body_bytes + HEADROOM_BYTES) // MIB


def _activator(spec: GptOssSpec, image: str, options: RenderOptions) -> Manifest:
    """Return the sidecar that holds requests, reloads keys and writes the log.

    A busy moment is no reason to take the pod out of the Service, or to start the activator again: requests reach
    replicas that are ready without it.
    """
    return {
        "name": ACTIVATOR_CONTAINER,
        "image": image,
        "imagePullPolicy": options.image_pull_policy,
        "restartPolicy": "Always",
        "command": ["gptoss-activator"],
        "ports": [
            {"name": "activator", "containerPort": ACTIVATOR_PORT, "protocol": "TCP"},
            {"name": "usage", "containerPort": USAGE_PORT, "protocol": "UDP"},
        ],
        "resources": {
            "requests": {"cpu": "50m", "memory": "64Mi"},
            "limits": {"memory": f"{activator_memory_mib(spec)}Mi"},
        },
        "securityContext": CONTAINER_SECURITY,
        "startupProbe": http_probe("/healthz", ACTIVATOR_PORT, period_seconds=1, failures=60),
        "readinessProbe": http_probe("/healthz", ACTIVATOR_PORT, period_seconds=2, failures=5),
        "livenessProbe": http_probe("/healthz", ACTIVATOR_PORT, period_seconds=10, failures=6),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts(
            spec.routing,
            GatewayVolume.CONFIG,
            GatewayVolume.RUN,
            GatewayVolume.KEYS,
            GatewayVolume.TLS,
            GatewayVolume.FILTER,
        ),
    }


def _long_prompts(spec: GptOssSpec, image: str, options: RenderOptions) -> Manifest:
    """Return the sidecar whose buffers hold whole long prompts, so that these can be sent again, too."""
    return {
        "name": LONG_PROMPTS_CONTAINER,
        "image": image,
        "imagePullPolicy": options.image_pull_policy,
        "restartPolicy": "Always",
        "command": ["haproxy", "-db", "-f", f"{CONFIG_DIRECTORY}/{LONG_FILE}"],
        "resources": {
            "requests": {"cpu": "50m", "memory": "32Mi"},
            "limits": {"memory": f"{LONG_PROMPTS_MIB + _long_bodies_mib(spec)}Mi"},
        },
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts(None, GatewayVolume.CONFIG, GatewayVolume.RUN),
    }


def _haproxy(owner: Owner, spec: GptOssSpec, image: str, options: RenderOptions) -> Manifest:
    """Return the container that serves clients.

    Its image's stop signal is SIGUSR1 (it is in HAProxy's own images): HAProxy then stops softly, letting requests
    that run end. Before, the preStop hook has the activator close clients' connections with their next answers, and
    lasts until the last request has ended.
    """
    return {
        "name": GATEWAY_CONTAINER,
        "image": image,
        "imagePullPolicy": options.image_pull_policy,
        "command": ["haproxy", "-db", "-f", f"{CONFIG_DIRECTORY}/{MAIN_FILE}"],
        "ports": [
            {"name": "https" if spec.routing.tls else "http", "containerPort": GATEWAY_PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": HAPROXY_HEALTH_PORT, "protocol": "TCP"},
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": CONTAINER_SECURITY,
        "readinessProbe": http_probe("/healthz", HAPROXY_HEALTH_PORT, period_seconds=2, failures=2),
        "livenessProbe": http_probe("/healthz", HAPROXY_HEALTH_PORT, period_seconds=10, failures=3),
        "lifecycle": {"preStop": {"httpGet": {"path": leave_path(owner), "port": ACTIVATOR_PORT}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts(spec.routing, GatewayVolume.CONFIG, GatewayVolume.RUN, GatewayVolume.TLS),
    }
