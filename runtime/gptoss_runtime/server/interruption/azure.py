"""What Azure announces as scheduled events. Pure.

https://learn.microsoft.com/en-us/azure/virtual-machines/linux/scheduled-events
"""

import json
from collections.abc import Iterator
from functools import partial
from types import MappingProxyType
from typing import Any

from gptoss_runtime.contract import Notice, NoticeKind
from gptoss_runtime.server.interruption.question import Question, UnreadableError, most_urgent
from gptoss_runtime.server.interruption.times import read_time


HEADERS = MappingProxyType({"Metadata": "true"})
NAME_PATH = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
EVENTS_PATH = "/metadata/scheduledevents?api-version=2020-07-01"
SOURCE = "Azure scheduledevents"
FIRST_TIMEOUT_SECONDS = 150.0
"""The first question turns the service on, which takes Azure up to two minutes."""
SHORT_FREEZE_SECONDS = 30
"""A pause of this length keeps memory and connections: clients wait, which is less than sending them away."""

_KINDS = MappingProxyType(
    {
        "Preempt": NoticeKind.TERMINATION,
        "Terminate": NoticeKind.TERMINATION,
        "Redeploy": NoticeKind.MAINTENANCE,
        "Reboot": NoticeKind.MAINTENANCE,
        "Freeze": NoticeKind.MAINTENANCE,
    }
)


def question(machine: str) -> Question:
    """Return what to ask for events that are about `machine`."""
    return Question(
        source=SOURCE,
        path=EVENTS_PATH,
        headers=HEADERS,
        read=partial(read_events, machine=machine),
        first_timeout_seconds=FIRST_TIMEOUT_SECONDS,
    )


def read_events(text: str, *, machine: str) -> Notice | None:
    """Return the most urgent event that is about `machine`; empty: its name is unknown, and all events count.

    Machines of a scale set hear of each other's events. Raises UnreadableError.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise UnreadableError(f"not JSON: {error}") from error
    events = document.get("Events") if isinstance(document, dict) else None
    if not isinstance(events, list):
        raise UnreadableError("no list of events")
    return most_urgent(_notices(events, machine))


def _notices(events: list[Any], machine: str) -> Iterator[Notice]:
    for event in events:
        if not isinstance(event, dict):
            raise UnreadableError("an event is no JSON object")
        kind = _KINDS.get(str(event.get("EventType")))
        if kind is None or not _is_about(event, machine) or _is_short(event):
            continue
        # An event that has started says nothing of a time: it is now.
        not_before = event.get("NotBefore")
        deadline = read_time(not_before) if not_before else None
        yield Notice(kind=kind, source=f"{SOURCE} {event['EventType']}", deadline=deadline)


def _is_about(event: dict[str, Any], machine: str) -> bool:
    names = event.get("Resources")
    if not machine or not isinstance(names, list):
        return True
    return machine.casefold() in (str(name).casefold() for name in names)


def _is_short(event: dict[str, Any]) -> bool:
    seconds = event.get("DurationInSeconds")
    # -1 is Azure's word for unknown.
    return event.get("EventType") == "Freeze" and isinstance(seconds, int) and 0 <= seconds <= SHORT_FREEZE_SECONDS
