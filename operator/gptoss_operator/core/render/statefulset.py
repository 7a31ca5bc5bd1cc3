"""One replica: a StatefulSet of one pod."""

from gptoss_operator.api.names import (
    COMPONENT_REPLICA,
    LABEL_REVISION,
    LABEL_SLOT,
    replica,
    replica_service,
    selector,
)
from gptoss_operator.core.actions import digest_of
from gptoss_operator.core.observation import Manifest, Owner
from gptoss_operator.core.render.common import metadata
from gptoss_operator.core.render.machine import ANY_MACHINE, Machine


REVISION_LENGTH = 10


def revision_of(template: Manifest) -> str:
    """Return the short digest that names a pod template."""
    return digest_of(template)[:REVISION_LENGTH]


def replica_set(owner: Owner, slot: int, template: Manifest, machine: Machine = ANY_MACHINE) -> Manifest:
    """Return the StatefulSet of `slot`, for a pod on `machine`.

    The revision is that of the template alone: a replica on another machine is no other revision.

    `OnDelete`, since the operator itself replaces pods: the StatefulSet controller would wait for ever for a broken
    one (kubernetes#67250).
    """
    labels = {LABEL_REVISION: revision_of(template), LABEL_SLOT: str(slot), **machine.labels}
    meta, pod = template["metadata"], template["spec"]
    # What is equal in all replicas is shared: manifests are values, and there may be a thousand of them in each pass.
    own = {
        "metadata": {**meta, "labels": {**meta["labels"], **labels}},
        "spec": {**pod, "tolerations": [*pod["tolerations"], *machine.tolerations], **machine.fields},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(owner, replica(owner.name, slot), COMPONENT_REPLICA, labels=labels),
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
