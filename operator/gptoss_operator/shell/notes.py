"""Kubernetes Events about the user's object, at most one of a kind in a while."""

import secrets
from datetime import datetime
from typing import Final

from gptoss_operator.api import names
from gptoss_operator.core.actions import Note
from gptoss_operator.core.observation import Manifest, Owner


REPEAT_AFTER_SECONDS: Final = 300.0
NOTE_MAX_LENGTH: Final = 1024
"""What the API server accepts as an event's note."""


class NoteLimiter:
    """Lets each note about each object pass once in `REPEAT_AFTER_SECONDS`."""

    def __init__(self) -> None:
        self._passed_at: dict[tuple[str, Note], float] = {}

    def passes(self, owner: Owner, note: Note, now_seconds: float) -> bool:
        """Return whether to send the note now. `now_seconds` is any clock that does not go back."""
        self._passed_at = {
            known: passed_at
            for known, passed_at in self._passed_at.items()
            if now_seconds - passed_at < REPEAT_AFTER_SECONDS
        }
        if (owner.uid, note) in self._passed_at:
            return False
        self._passed_at[owner.uid, note] = now_seconds
        return True


def event_of(owner: Owner, note: Note, instance: str, now: datetime) -> Manifest:
    """Return the Event that says `note` about the owner. `instance` names this process, `now` has a time zone."""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{owner.name}.{secrets.token_hex(8)}", "namespace": owner.namespace},
        "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "reportingController": f"{names.GROUP}/operator",
        "reportingInstance": instance[:128],
        "type": note.type,
        "reason": note.reason,
        "action": note.action,
        "note": note.message[:NOTE_MAX_LENGTH],
        "regarding": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "namespace": owner.namespace,
            "name": owner.name,
            "uid": owner.uid,
        },
    }
