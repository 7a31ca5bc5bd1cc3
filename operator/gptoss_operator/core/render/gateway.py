"""The gateway: a Deployment of HAProxy pods, and the ConfigMap that configures them."""

from gptoss_operator.api.names import (
    ANNOTATION_CONFIG,
    COMPONENT_GATEWAY,
    GATEWAY_CONTAINER,
    LABEL_COMPONENT,
    gateway,
    identity,
    selector,
)
from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.core.actions import digest_of
from gptoss_operator.core.observation import Manifest, Owner
from gptoss_operator.core.render.common import CONTAINER_SECURITY, POD_SECURITY, http_probe, metadata
from gptoss_operator.core.render.haproxy import GATEWAY_HEALTH_PORT, GATEWAY_PORT
from gptoss_operator.core.render.options import RenderOptions


CONFIG_DIR = "/etc/gptoss"
CONFIG_FILE = "haproxy.cfg"
ENDPOINT_GRACE_SECONDS = 5
"""How long a leaving gateway pod still accepts connections, while the nodes take it out of the Service."""


def gateway_config(owner: Owner, config: str) -> Manifest:
    """Return the ConfigMap with HAProxy's configuration."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(owner, gateway(owner.name), COMPONENT_GATEWAY),
        "data": {CONFIG_FILE: config},
    }


def gateway_deployment(owner: Owner, spec: GptOssSpec, image: str, config: str, options: RenderOptions) -> Manifest:
    """Return the Deployment. Its pods carry a digest of the configuration, so a change rolls them, one at a time.

    The image's stop signal is SIGUSR1 (it is in HAProxy's own images): HAProxy then stops softly, letting requests
    that run end.
    """
    selected = selector(owner.name, COMPONENT_GATEWAY)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(owner, gateway(owner.name), COMPONENT_GATEWAY),
        "spec": {
            "replicas": spec.routing.gateway.replicas,
            "revisionHistoryLimit": 2,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": selected},
            "template": {
                "metadata": {
                    "labels": {**identity(owner.name), LABEL_COMPONENT: COMPONENT_GATEWAY},
                    "annotations": {ANNOTATION_CONFIG: digest_of({"config": config})},
                },
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": POD_SECURITY,
                    "terminationGracePeriodSeconds": ENDPOINT_GRACE_SECONDS + spec.drain_seconds + 5,
                    "topologySpreadConstraints": [
                        {
                            "maxSkew": 1,
                            "topologyKey": "kubernetes.io/hostname",
                            "whenUnsatisfiable": "ScheduleAnyway",
                            "labelSelector": {"matchLabels": selected},
                        }
                    ],
                    "containers": [
                        {
                            "name": GATEWAY_CONTAINER,
                            "image": image,
                            "imagePullPolicy": options.image_pull_policy,
                            "command": ["haproxy", "-db", "-f", f"{CONFIG_DIR}/{CONFIG_FILE}"],
                            "ports": [
                                {"name": "http", "containerPort": GATEWAY_PORT, "protocol": "TCP"},
                                {"name": "metrics", "containerPort": GATEWAY_HEALTH_PORT, "protocol": "TCP"},
                            ],
                            "resources": {
                                "requests": {"cpu": "100m", "memory": "64Mi"},
                                "limits": {"memory": "512Mi"},
                            },
                            "securityContext": CONTAINER_SECURITY,
                            "readinessProbe": http_probe("/healthz", GATEWAY_HEALTH_PORT, period_seconds=2, failures=2),
                            "livenessProbe": http_probe("/healthz", GATEWAY_HEALTH_PORT, period_seconds=10, failures=3),
                            "lifecycle": {"preStop": {"sleep": {"seconds": ENDPOINT_GRACE_SECONDS}}},
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "volumeMounts": [{"name": "config", "mountPath": CONFIG_DIR, "readOnly": True}],
                        }
                    ],
                    "volumes": [{"name": "config", "configMap": {"name": gateway(owner.name)}}],
                },
            },
        },
    }
