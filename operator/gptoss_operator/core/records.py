"""What the record of a revision holds: a ControllerRevision whose `data` is `{"template": <pod template>}`."""

import msgspec

from gptoss_operator.core.objects import Record
from gptoss_operator.core.observation import Manifest


class _Data(msgspec.Struct):
    template: Manifest


def template_of(record: Record) -> Manifest | None:
    """Return the pod template of a revision, a new one each time. None: what is there is none."""
    try:
        return msgspec.json.decode(record.data, type=_Data).template
    except msgspec.MsgspecError:
        return None
