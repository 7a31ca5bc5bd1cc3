"""The Services: one in which gateways find replicas, one in which they find each other, one that clients use."""

from gptoss_operator.api.names import (
    COMPONENT_GATEWAY,
    COMPONENT_REPLICA,
    client_service,
    gateways_service,
    replica_service,
    selector,
)
from gptoss_operator.api.routing import RoutingSpec
from gptoss_operator.core.observation import Manifest, Owner
from gptoss_operator.core.render.common import metadata
from gptoss_runtime.contract import OPENAI_PORT
from gptoss_runtime.gateway_contract import ACTIVATOR_PORT, GATEWAY_PORT, USAGE_PORT


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


def peers_service(owner: Owner) -> Manifest:
    """Return the headless Service that gateways resolve to tell each other what their tenants use.

    It publishes pods that are not ready: one that leaves still counts, as long as it has requests.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(owner, gateways_service(owner.name), COMPONENT_GATEWAY),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector(owner.name, COMPONENT_GATEWAY),
            "ports": [
                {"name": "activator", "port": ACTIVATOR_PORT, "protocol": "TCP", "targetPort": ACTIVATOR_PORT},
                {"name": "usage", "port": USAGE_PORT, "protocol": "UDP", "targetPort": USAGE_PORT},
            ],
        },
    }


def clients_service(owner: Owner, routing: RoutingSpec) -> Manifest:
    """Return the Service that clients use."""
    port = {"name": _scheme(routing), "port": CLIENT_PORT, "protocol": "TCP", "targetPort": GATEWAY_PORT}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(owner, client_service(owner.name), COMPONENT_GATEWAY),
        "spec": {
            "type": "ClusterIP",
            "selector": selector(owner.name, COMPONENT_GATEWAY),
            "ports": [port],
        },
    }


def client_url(owner: Owner, routing: RoutingSpec, cluster_domain: str) -> str:
    """Return the base URL for OpenAI clients inside the cluster."""
    host = f"{client_service(owner.name)}.{owner.namespace}.svc.{cluster_domain}"
    return f"{_scheme(routing)}://{host}:{CLIENT_PORT}/v1"


def _scheme(routing: RoutingSpec) -> str:
    return "https" if routing.tls else "http"
