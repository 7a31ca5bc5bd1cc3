"""The API server's audit log: what became of every pod, and when, without gaps between two looks."""

import json
from typing import Any

from e2e.cluster.local.places import Places


MAX_MEGABYTES = 200
"""Hours of what is logged here. Then a new file begins, and the old one goes."""


def audit_flags(places: Places) -> list[str]:
    """Return the API server's flags, after writing the policy that they name."""
    policy = places.run / "audit-policy.json"
    policy.write_text(json.dumps(render_policy(), indent=1))
    return [
        f"--audit-policy-file={policy}",
        f"--audit-log-path={places.audit_log}",
        f"--audit-log-maxsize={MAX_MEGABYTES}",
        "--audit-log-maxbackup=1",
    ]


def render_policy() -> dict[str, Any]:
    """Return what is logged: each change of a pod with the pod as it is then, and nothing else."""
    changes = {
        "level": "RequestResponse",
        "verbs": ["create", "update", "patch", "delete"],
        "resources": [{"group": "", "resources": ["pods", "pods/status"]}],
    }
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "omitManagedFields": True,
        "rules": [changes, {"level": "None"}],
    }
