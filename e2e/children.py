"""What the operator made, as kubectl shows it, and waiting for it to change."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

from e2e.kubectl import Kubectl


KINDS = "statefulsets,deployments,services,configmaps,poddisruptionbudgets"
VOLATILE = ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation")
HOOK = re.compile(r"/leave/[0-9a-f]+")
CONFIG_DIGEST = "gptoss.dev/config"
LOOK_AGAIN_SECONDS = 0.2


def eventually(check: Callable[[], bool], what: str, *, seconds: float = 30.0) -> None:
    """Ask `check` until it holds. Raises AssertionError with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(LOOK_AGAIN_SECONDS)


def children(kubectl: Kubectl, deployment: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return everything that the operator made, without what differs from one time to the next."""
    listed = kubectl.items(KINDS, "-l", f"gptoss.dev/deployment={deployment}")
    return {(item["kind"], item["metadata"]["name"]): _stable(item) for item in listed}


def _stable(item: dict[str, Any]) -> dict[str, Any]:
    # The path of the gateway's preStop hook is another for each object.
    text = json.loads(HOOK.sub("/leave/", json.dumps(item)))
    text.pop("status", None)
    for name in VOLATILE:
        text["metadata"].pop(name, None)
    for owner in text["metadata"].get("ownerReferences", []):
        owner.pop("uid", None)
    for name in ("clusterIP", "clusterIPs"):
        if text["kind"] == "Service" and text["spec"].get(name) not in ("None", ["None"]):
            text["spec"].pop(name, None)
    text["metadata"].get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
    # A digest of the ConfigMap, which has that path too.
    pod = text.get("spec", {}).get("template", {}).get("metadata", {})
    pod.get("annotations", {}).pop(CONFIG_DIGEST, None)
    stable: dict[str, Any] = text
    return stable
