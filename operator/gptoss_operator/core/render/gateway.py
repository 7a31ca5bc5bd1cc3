"""The gateway: a Deployment of pods that clients talk to, and the ConfigMap that configures them."""

from collections.abc import Mapping

from gptoss_operator.api.names import (
    ANNOTATION_CONFIG,
    COMPONENT_GATEWAY,
    LABEL_COMPONENT,
    gateway,
    identity,
    selector,
)
from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.core.actions import digest_of
from gptoss_operator.core.observation import Manifest, Owner
from gptoss_operator.core.render.common import metadata
from gptoss_operator.core.render.gateway_pod import GatewayImages, gateway_pod
from gptoss_operator.core.render.options import RenderOptions


def gateway_config(owner: Owner, files: Mapping[str, str]) -> Manifest:
    """Return the ConfigMap with what HAProxy and the activator are told."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(owner, gateway(owner.name), COMPONENT_GATEWAY),
        "data": dict(files),
    }


def gateway_deployment(
    owner: Owner, spec: GptOssSpec, images: GatewayImages, files: Mapping[str, str], options: RenderOptions
) -> Manifest:
    """Return the Deployment. Its pods carry a digest of what they are made from: a change rolls them, one at a time."""
    pod = gateway_pod(owner, spec, images, options)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(owner, gateway(owner.name), COMPONENT_GATEWAY),
        "spec": {
            "replicas": spec.routing.gateway.replicas,
            "revisionHistoryLimit": 2,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": selector(owner.name, COMPONENT_GATEWAY)},
            "template": {
                "metadata": {
                    "labels": {**identity(owner.name), LABEL_COMPONENT: COMPONENT_GATEWAY},
                    "annotations": {ANNOTATION_CONFIG: digest_of({"files": dict(files), "pod": pod})},
                },
                "spec": pod,
            },
        },
    }
