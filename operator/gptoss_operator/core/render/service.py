"""The two Services: one in which gateways find replicas, one that clients use."""

from gptoss_operator.api.names import (
    COMPONENT_GATEWAY,
    COMPONENT_REPLICA,
    client_service,
    replica_service,
    selector,
)
from gptoss_operator.core.observation import Manifest, Owner
from gptoss_operator.core.render.common import metadata
from gptoss_runtime.contract import OPENAI_PORT


CLIENT_PORT = 8000
"""Port of the Service that clients use."""


def replicas_service(owner: Owner) -> Manifest:
    """Return the headless Service that the gateways resolve.

    It publishes pods that are not ready: a replica tells each gateway itself, by health and agent checks, and is in
    rotation a moment after it is ready instead of a DNS time-to-live later.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(owner, replica_service(owner.name), COMPONENT_REPLICA),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector(owner.name, COMPONENT_REPLICA),
            "ports": [{"name": "http", "port": OPENAI_PORT, "protocol": "TCP", "targetPort": OPENAI_PORT}],
        },
    }


def clients_service(owner: Owner, gateway_port: int) -> Manifest:
    """Return the Service that clients use."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(owner, client_service(owner.name), COMPONENT_GATEWAY),
        "spec": {
            "type": "ClusterIP",
            "selector": selector(owner.name, COMPONENT_GATEWAY),
            "ports": [{"name": "http", "port": CLIENT_PORT, "protocol": "TCP", "targetPort": gateway_port}],
        },
    }


def client_url(owner: Owner, cluster_domain: str) -> str:
    """Return the base URL for OpenAI clients inside the cluster."""
    return f"http://{client_service(owner.name)}.{owner.namespace}.svc.{cluster_domain}:{CLIENT_PORT}/v1"
