"""Pods of the server image in which load generators run, with the tiny model's tokenizer at hand."""

from typing import Any

from e2e.pods import USER_ID, waiting_pod
from e2e.stack import CLAIM


MODELS = "/models"
"""Where the tiny model lies in the pod."""
PACKAGES = "/packages"
"""Where further Python packages lie in the pod."""
RESULTS = "/results"
"""An empty directory to write to, which is also the home directory."""


def generator_pod(name: str, image: str, *, packages_claim: str | None = None) -> dict[str, Any]:
    """Return a pod that waits, in which load generators are run."""
    volumes: list[dict[str, Any]] = [
        {"name": "models", "persistentVolumeClaim": {"claimName": CLAIM, "readOnly": True}},
        {"name": "results", "emptyDir": {}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "models", "mountPath": MODELS, "readOnly": True},
        {"name": "results", "mountPath": RESULTS},
    ]
    environment = {"HOME": RESULTS, "HF_HUB_OFFLINE": "1"}
    if packages_claim:
        volumes.append({"name": "packages", "persistentVolumeClaim": {"claimName": packages_claim, "readOnly": True}})
        mounts.append({"name": "packages", "mountPath": PACKAGES, "readOnly": True})
        environment["PYTHONPATH"] = PACKAGES
    pod = waiting_pod(name, image)
    pod["spec"]["securityContext"]["fsGroup"] = USER_ID
    pod["spec"]["volumes"] = volumes
    (container,) = pod["spec"]["containers"]
    container["env"] = [{"name": key, "value": value} for key, value in environment.items()]
    container["volumeMounts"] = mounts
    return pod
