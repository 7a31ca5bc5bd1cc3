"""How many GPUs the pods of all deployments take on each node.

Counted as pods come, change and go: a pass that asks must not look at thousands of pods.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from gptoss_operator.core.objects import Pod, gpus_of


ENDED: Final = ("Succeeded", "Failed")
"""Phases of pods that keep nothing of their node."""


class GpusUsed:
    """Counts of extended resources, by resource and node."""

    def __init__(self) -> None:
        self._used: dict[str, dict[str, int]] = {}

    def changed(self, before: Pod | None, after: Pod | None) -> None:
        """Take in the change of one pod. None: it was not, or is not there."""
        for pod, sign in ((before, -1), (after, 1)):
            if pod is not None and pod.spec.node_name and pod.status.phase not in ENDED:
                for resource in _extended_resources(pod):
                    self._add(resource, pod.spec.node_name, sign * gpus_of(pod, resource))

    def of(self, resource: str) -> Mapping[str, int]:
        """Return how many units of a resource are taken on each node where any are. It stays as it is now."""
        return MappingProxyType(dict(self._used.get(resource, {})))

    def _add(self, resource: str, node: str, count: int) -> None:
        nodes = self._used.setdefault(resource, {})
        nodes[node] = nodes.get(node, 0) + count
        # What is not taken is not kept: nodes come and go.
        if not nodes[node]:
            del nodes[node]
        if not nodes:
            del self._used[resource]


def _extended_resources(pod: Pod) -> Iterable[str]:
    """Return the resources that a device plugin hands out, which alone have a domain in their name."""
    return {name for container in pod.spec.containers for name in container.resources.limits if "/" in name}
