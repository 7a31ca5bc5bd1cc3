"""What the gateway's pods say of themselves: the activator's log lines and metrics."""

import json
from typing import Any

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from e2e.kubectl import Kubectl
from gptoss_runtime.gateway_contract import ACTIVATOR_PORT


def gateway_pods(kubectl: Kubectl, deployment: str) -> list[str]:
    """Return the names of the gateway's pods that stay."""
    selector = f"gptoss.dev/deployment={deployment},app.kubernetes.io/component=gateway"
    pods = kubectl.items("pods", "-l", selector)
    return sorted(pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"])


def requests_logged(kubectl: Kubectl, deployment: str) -> list[dict[str, Any]]:
    """Return the line of each request in the logs of the gateway's pods, in no order."""
    logs = [kubectl("logs", pod, "--container=activator") for pod in gateway_pods(kubectl, deployment)]
    lines = [json.loads(line) for log in logs for line in log.splitlines() if line.startswith("{")]
    # HAProxy's news and the activator's own are lines, too.
    return [line for line in lines if "path" in line]


def gateway_metrics(kubectl: Kubectl, pod: str) -> dict[str, Metric]:
    """Return the metrics of the activator in one of the gateway's pods, by name."""
    text = kubectl.raw(f"/api/v1/namespaces/{kubectl.namespace}/pods/{pod}:{ACTIVATOR_PORT}/proxy/metrics")
    return {family.name: family for family in text_string_to_metric_families(text)}
