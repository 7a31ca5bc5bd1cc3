"""Parts that several manifests share."""

from typing import Any

from gptoss_operator.api.names import API_VERSION, KIND, LABEL_COMPONENT, identity
from gptoss_operator.core.observation import Manifest, Owner


RUN_AS = 10001
"""User and group of every container; the images are built for it."""

POD_SECURITY: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": RUN_AS,
    "runAsGroup": RUN_AS,
    "fsGroup": RUN_AS,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""Pod Security `restricted`, as the pod says it."""

CONTAINER_SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""Pod Security `restricted`, as each container says it."""


def metadata(owner: Owner, name: str, component: str, *, labels: dict[str, str] | None = None) -> Manifest:
    """Return the metadata of a child: named, labelled, and deleted together with its owner."""
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": {**identity(owner.name), LABEL_COMPONENT: component, **(labels or {})},
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def http_probe(path: str, port: int, *, period_seconds: int, failures: int, timeout_seconds: int = 2) -> Manifest:
    """Return a probe that asks `path` every `period_seconds` and gives up after `failures` in a row."""
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period_seconds,
        "failureThreshold": failures,
        "timeoutSeconds": timeout_seconds,
    }
