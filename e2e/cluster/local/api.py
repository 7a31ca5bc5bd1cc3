"""Small questions to a cluster's API server, asked many times while waiting: without starting kubectl for each."""

import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

import yaml

from e2e.cluster.local.places import Places


ANSWER_SECONDS = 5


def answers(places: Places, path: str) -> bool:
    """Whether the API server gives a good answer for a path now."""
    return fetch(places, path) is not None


def get_object(places: Places, path: str) -> dict[str, Any] | None:
    """Return an object of the API, or None when it is not there or the API server does not answer."""
    body = fetch(places, path)
    found: dict[str, Any] | None = None if body is None else json.loads(body)
    return found


def fetch(places: Places, path: str) -> bytes | None:
    """Return the body of a good answer, as the administrator gets it through the port that a person uses."""
    server = yaml.safe_load(places.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    context = ssl.create_default_context(cafile=places.certs / "ca.crt")
    context.load_cert_chain(places.certs / "admin.crt", places.certs / "admin.key")
    address = urlsplit(server)
    connection = http.client.HTTPSConnection(
        address.hostname or "", address.port, timeout=ANSWER_SECONDS, context=context
    )
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return body if response.status == http.client.OK else None


def is_ready(node: dict[str, Any]) -> bool:
    """Whether a node object says that it is ready."""
    conditions = node.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
