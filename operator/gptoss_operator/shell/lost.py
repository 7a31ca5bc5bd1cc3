"""Finds children that still exist but have dropped out of sight, because somebody took the label off them.

The reflectors select by label, so such an object looks deleted. Without this it would run on, unseen, beside its
replacement.
"""

from collections.abc import Mapping
from typing import Protocol

from gptoss_operator.core.objects import Child
from gptoss_operator.core.observation import ChildKey, Manifest, Owner
from gptoss_operator.errors import NotFound
from gptoss_operator.shell.children import child_of
from gptoss_operator.shell.cluster import Cluster
from gptoss_operator.shell.ledger import Ledger
from gptoss_operator.shell.observe import is_controlled_by
from gptoss_operator.shell.store import Key


class Reader(Protocol):
    """The call of `Kube` that this needs."""

    async def get(self, kind: str, namespace: str, name: str) -> Manifest:
        """Return one object."""
        ...


async def find_lost(owner: Owner, cluster: Cluster, ledger: Ledger, reader: Reader) -> Mapping[ChildKey, Child]:
    """Return the owner's children that exist but are not in the stores.

    Asked for by name: what this process has applied, and the StatefulSets of pods that are not being deleted. In a
    settled cluster those are all in the stores, and nothing is asked.
    """
    deployment = Key(owner.namespace, owner.name)
    expected = set(ledger.applied(deployment))
    for pod in cluster.pods.part_of(deployment):
        if pod.metadata.deletion_timestamp is None:
            expected |= {
                ChildKey("StatefulSet", reference.name)
                for reference in pod.metadata.owner_references
                if reference.kind == "StatefulSet" and reference.controller
            }
    lost = {}
    for key in sorted(expected):
        if cluster.children[key.kind].get(Key(owner.namespace, key.name)) is not None:
            continue
        try:
            found = child_of(key.kind, await reader.get(key.kind, owner.namespace, key.name))
        except NotFound:
            ledger.forget_child(deployment, key)
            continue
        if is_controlled_by(found.metadata, owner.uid):
            lost[key] = found
    return lost
