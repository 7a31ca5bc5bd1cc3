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
    metadata_only: bool = False
    """Whether the API server is asked for names and versions alone, whatever else the objects hold."""
    fields: str = ""
    """Field selector of every list and watch. Empty: all objects."""

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
LEASE: Final = "Lease"
SECRET: Final = "Secret"  # noqa: S105 - the name of a kind
REVISION: Final = "ControllerRevision"

OPTIONAL_CHILD_KINDS: Final = frozenset({"InferencePool"})
"""Kinds that a cluster may not have."""
CHILD_KINDS: Final = (
    "StatefulSet",
    "Deployment",
    "Service",
    "ConfigMap",
    "PodDisruptionBudget",
    "PersistentVolumeClaim",
    "Job",
    REVISION,
    *sorted(OPTIONAL_CHILD_KINDS),
)
"""Kinds of the objects that the operator applies."""

FOREIGN_SECRETS: Final = ("helm.sh/release.v1", "kubernetes.io/service-account-token", "kubernetes.io/dockerconfigjson")
"""Types of Secrets that no gateway uses, and of which a cluster may have many."""

RESOURCES: Final = {
    names.KIND: Resource(group=names.GROUP, version=names.VERSION, plural=names.PLURAL),
    "StatefulSet": Resource(group="apps", version="v1", plural="statefulsets"),
    "Deployment": Resource(group="apps", version="v1", plural="deployments"),
    REVISION: Resource(group="apps", version="v1", plural="controllerrevisions"),
    "Service": Resource(group="", version="v1", plural="services"),
    "ConfigMap": Resource(group="", version="v1", plural="configmaps"),
    "PodDisruptionBudget": Resource(group="policy", version="v1", plural="poddisruptionbudgets"),
    "PersistentVolumeClaim": Resource(group="", version="v1", plural="persistentvolumeclaims"),
    "Job": Resource(group="batch", version="v1", plural="jobs"),
    "InferencePool": Resource(group="inference.networking.k8s.io", version="v1", plural="inferencepools"),
    POD: Resource(group="", version="v1", plural="pods"),
    NODE: Resource(group="", version="v1", plural="nodes", namespaced=False),
    SECRET: Resource(
        group="",
        version="v1",
        plural="secrets",
        metadata_only=True,
        fields=",".join(f"type!={type_}" for type_ in FOREIGN_SECRETS),
    ),
    EVENT: Resource(group="events.k8s.io", version="v1", plural="events"),
    LEASE: Resource(group="coordination.k8s.io", version="v1", plural="leases"),
}
