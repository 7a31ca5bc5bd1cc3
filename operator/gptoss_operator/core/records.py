"""The record of a revision: a ControllerRevision whose `data` has its pod template and what it was made of.

Replicas are made from it as long as their revision is wanted, so that neither an upgrade of the operator nor a change
of its defaults ever shows in a pod, and a revision of before can come back just as it was.
"""

from typing import Any

import msgspec

from gptoss_operator.api.names import COMPONENT_REVISION, LABEL_REVISION, revision_record
from gptoss_operator.core.objects import Record
from gptoss_operator.core.observation import ChildKey, Manifest, Observation
from gptoss_operator.core.render.common import metadata


class _Data(msgspec.Struct):
    template: Manifest
    inputs: dict[str, Any] = {}
    defaults: dict[str, str] = {}


def record_key(deployment: str, revision: str) -> ChildKey:
    """Return kind and name of the record of a revision."""
    return ChildKey("ControllerRevision", revision_record(deployment, revision))


def new_record(
    seen: Observation, revision: str, template: Manifest, *, inputs: dict[str, Any], defaults: dict[str, str]
) -> Manifest:
    """Return the record of a revision that has none yet. `defaults` are those of its fields that no spec said."""
    owner = seen.owner
    number = 1 + max((record.revision for record in seen.revisions.values()), default=0)
    labels = {LABEL_REVISION: revision}
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata(owner, revision_record(owner.name, revision), COMPONENT_REVISION, labels=labels),
        "revision": number,
        "data": {"template": template, "inputs": inputs, "defaults": defaults},
    }


def template_of(record: Record) -> Manifest | None:
    """Return the pod template of a revision, a new one each time. None: what is there is none."""
    data = _data(record)
    return data.template if data else None


def inputs_in(record: Record | None) -> dict[str, Any]:
    """Return the fields that a revision was made of; none where they are not known."""
    data = _data(record) if record else None
    return data.inputs if data else {}


def defaults_in(record: Record) -> dict[str, str]:
    """Return what was not said when a revision was made, and was taken for it."""
    data = _data(record)
    return data.defaults if data else {}


def _data(record: Record) -> _Data | None:
    try:
        return msgspec.json.decode(record.data, type=_Data)
    except msgspec.MsgspecError:
        return None
