"""The stores of everything that is reflected, and who is to be woken when something in them changes."""

from collections.abc import Callable, Iterable
from typing import Final

from gptoss_operator.api import names
from gptoss_operator.core.objects import Child, Node, Pod
from gptoss_operator.shell.children import struct_of
from gptoss_operator.shell.gpus import GpusUsed
from gptoss_operator.shell.reflect import Reflector, Source
from gptoss_operator.shell.resources import CHILD_KINDS, NODE, OPTIONAL_CHILD_KINDS, POD, REVISION, SECRET
from gptoss_operator.shell.store import HasMetadata, Key, Store, deployment_of, key_of


SELECTOR: Final = f"{names.LABEL_MANAGED_BY}={names.FIELD_MANAGER},{names.LABEL_DEPLOYMENT}"
"""Only what the operator made, or what came from it."""
REVISION_SELECTOR: Final = f"{SELECTOR},{names.LABEL_COMPONENT}={names.COMPONENT_REVISION}"
"""The StatefulSet controller makes a ControllerRevision for each replica, with the labels of its pod."""


class Cluster:
    """What is seen of the cluster."""

    def __init__(
        self,
        namespaces: Iterable[str],
        wake: Callable[[Key], None],
        users_of_secret: Callable[[Key], Iterable[Key]] = lambda _secret: (),
    ) -> None:
        """`namespaces` to look at; none means all. `wake` is told which deployments to look at again."""
        self.scopes: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._wake = wake
        self._users_of_secret = users_of_secret
        self.pods: Store[Pod] = Store(self._pod_changed)
        self.gpus_used = GpusUsed()
        """What of the nodes the pods take."""
        self.children: dict[str, Store[Child]] = {kind: Store(self._part_changed) for kind in CHILD_KINDS}
        self.secrets: Store[Child] = Store(self._secret_changed)
        """Names and versions only. Their contents are never asked for."""
        self.nodes: Store[Node] = Store(self._node_changed)

    def reflectors(self, source: Source) -> list[Reflector[Pod] | Reflector[Child] | Reflector[Node]]:
        """Return what keeps the stores up to date, not yet running."""
        # Nodes belong to the whole cluster: where the operator serves a few namespaces, it may have no right to them.
        found: list[Reflector[Pod] | Reflector[Child] | Reflector[Node]] = [
            Reflector(source, NODE, Node, self.nodes, optional=True),
        ]
        for scope in self.scopes:
            found.append(Reflector(source, POD, Pod, self.pods, namespace=scope, selector=SELECTOR))
            found.append(Reflector(source, SECRET, Child, self.secrets, namespace=scope, optional=True))
            found.extend(
                Reflector(
                    source,
                    kind,
                    struct_of(kind),
                    store,
                    namespace=scope,
                    selector=REVISION_SELECTOR if kind == REVISION else SELECTOR,
                    optional=kind in OPTIONAL_CHILD_KINDS,
                )
                for kind, store in self.children.items()
            )
        return found

    def scope_of(self, namespace: str) -> str | None:
        """Return which watch shows the objects of `namespace`."""
        return namespace if self.scopes != (None,) else None

    def _pod_changed(self, before: Pod | None, after: Pod | None) -> None:
        self.gpus_used.changed(before, after)
        self._part_changed(before, after)

    def _part_changed(self, before: HasMetadata | None, after: HasMetadata | None) -> None:
        for deployment in {deployment_of(obj) for obj in (before, after) if obj is not None}:
            if deployment is not None:
                self._wake(deployment)

    def _secret_changed(self, before: Child | None, after: Child | None) -> None:
        secret = after or before
        if secret is not None:
            for deployment in self._users_of_secret(key_of(secret)):
                self._wake(deployment)

    def _node_changed(self, before: Node | None, after: Node | None) -> None:
        """Wake the deployments that have a pod on the node, and those that have a pod without a node."""
        if before is not None and after is not None and (before.spec, before.status) == (after.spec, after.status):
            return  # A label, or nothing that we read.
        name = (after or before).metadata.name  # type: ignore[union-attr]  # a change has at least one side
        for deployment in {deployment_of(pod) for pod in self.pods if pod.spec.node_name in ("", name)}:
            if deployment is not None:
                self._wake(deployment)
