"""Where the API server keeps each kind that the operator reads or writes."""

from dataclasses import dataclass
from typing import Final

from gptoss_operator.api import names


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind of object, as it appears in a URL."""

    group: str
    """API group. Empty: the core group."""
    version: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL path of a collection (all namespaces when `namespace` is None) or of one object."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part is not None]
        return "/".join(parts)


POD: Final = "Pod"
NODE: Final = "Node"
EVENT: Final = "Event"

CHILD_KINDS: Final = ("StatefulSet", "Deployment", "Service", "ConfigMap", "PodDisruptionBudget")
"""Kinds of the objects that the operator applies."""

RESOURCES: Final = {
    names.KIND: Resource(group=names.GROUP, version=names.VERSION, plural=names.PLURAL),
    "StatefulSet": Resource(group="apps", version="v1", plural="statefulsets"),
    "Deployment": Resource(group="apps", version="v1", plural="deployments"),
    "Service": Resource(group="", version="v1", plural="services"),
    "ConfigMap": Resource(group="", version="v1", plural="configmaps"),
    "PodDisruptionBudget": Resource(group="policy", version="v1", plural="poddisruptionbudgets"),
    POD: Resource(group="", version="v1", plural="pods"),
    NODE: Resource(group="", version="v1", plural="nodes", namespaced=False),
    EVENT: Resource(group="events.k8s.io", version="v1", plural="events"),
}
