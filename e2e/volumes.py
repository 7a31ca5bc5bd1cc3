"""A directory of the node as a claim, which pods under Pod Security `restricted` may mount."""

import os
from pathlib import Path
from typing import Any


def directory_claim(
    namespace: str, name: str, directory: Path, *, writable: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a volume of a directory of the node, and the claim `name` that takes it."""
    size = {"storage": "1Gi"}
    modes = ["ReadWriteMany" if writable else "ReadOnlyMany"]
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{namespace}-{name}"},
        "spec": {
            "capacity": size,
            "accessModes": modes,
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "claimRef": {"namespace": namespace, "name": name},
            "hostPath": {"path": os.fspath(directory), "type": "Directory"},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "accessModes": modes,
            "storageClassName": "",
            "resources": {"requests": size},
            "volumeName": f"{namespace}-{name}",
        },
    }
    return volume, claim
