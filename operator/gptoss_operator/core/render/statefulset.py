"""One replica: a StatefulSet of one pod."""

from dataclasses import dataclass

from gptoss_operator.api.names import (
    ANNOTATION_REPLACES,
    ANNOTATION_TRAFFIC,
    COMPONENT_REPLICA,
    LABEL_REVISION,
    LABEL_SLOT,
    replica,
    replica_service,
    selector,
)
from gptoss_operator.core.observation import Manifest, Owner
from gptoss_operator.core.render.common import metadata
from gptoss_operator.core.render.machine import ANY_MACHINE, Machine
from gptoss_runtime.contract import CLOSED_SHARE, OPEN_SHARE, Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Berth:
    """What is a replica's own: all else it shares with the others of its revision."""

    slot: int
    revision: str
    machine: Machine = ANY_MACHINE
    share: int = OPEN_SHARE
    replaces: str = ""
    """The uid of the replica that leaves for it. Empty: none does."""


def traffic_of(share: int) -> str:
    """Return what the annotation says of a share in percent."""
    return str({CLOSED_SHARE: Traffic.CLOSED, OPEN_SHARE: Traffic.OPEN}.get(share, share))


def replica_set(owner: Owner, template: Manifest, berth: Berth) -> Manifest:
    """Return the StatefulSet of a replica. `template` is its revision's.

    Which requests it gets is in the template of its pod as well: a pod that Kubernetes makes anew while the operator is
    away gets what the one before it got.

    `OnDelete`, since the operator itself replaces pods: the StatefulSet controller would wait for ever for a broken
    one (kubernetes#67250).
    """
    machine, slot = berth.machine, berth.slot
    labels = {LABEL_REVISION: berth.revision, LABEL_SLOT: str(slot), **machine.labels}
    traffic = {ANNOTATION_TRAFFIC: traffic_of(berth.share)}
    replaces = {ANNOTATION_REPLACES: berth.replaces} if berth.replaces else {}
    meta, pod = template["metadata"], template["spec"]
    # What is equal in all replicas is shared: manifests are values, and there may be a thousand of them in each pass.
    own = {
        "metadata": {
            "labels": {**meta["labels"], **labels},
            "annotations": {**meta.get("annotations", {}), **traffic},
        },
        "spec": {**pod, "tolerations": [*pod["tolerations"], *machine.tolerations], **machine.fields},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            **metadata(owner, replica(owner.name, slot), COMPONENT_REPLICA, labels=labels),
            "annotations": {**traffic, **replaces},
        },
        "spec": {
            "replicas": 1,
            "serviceName": replica_service(owner.name),
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "revisionHistoryLimit": 1,
            "selector": {"matchLabels": {**selector(owner.name, COMPONENT_REPLICA), LABEL_SLOT: str(slot)}},
            "template": own,
        },
    }
