"""Asking for a fleet, and waiting until it is there."""

from typing import Any

from e2e.kubectl import Kubectl
from e2e.watch import settled, until


SETTLE_SECONDS = 40


def deployment(**spec: Any) -> dict[str, Any]:  # noqa: ANN401 - a raw object
    return {
        "apiVersion": "gptoss.dev/v1alpha1",
        "kind": "GptOssDeployment",
        "metadata": {"name": "chat"},
        "spec": {"model": {"name": "gpt-oss-20b"}, **spec},
    }


def settle(user: Kubectl) -> dict[str, Any]:
    return until(user, "chat", settled, timeout_seconds=SETTLE_SECONDS, show=False)
