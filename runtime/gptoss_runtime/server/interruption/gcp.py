"""What Google Cloud announces. Pure.

https://cloud.google.com/compute/docs/instances/preemptible#detecting_if_a_vm_was_preempted
https://cloud.google.com/compute/docs/gpus/gpu-host-maintenance
"""

from types import MappingProxyType

from gptoss_runtime.contract import Notice, NoticeKind
from gptoss_runtime.server.interruption.question import Question, UnreadableError


PREEMPTED = "GCP instance/preempted"
MAINTENANCE = "GCP instance/maintenance-event"
PREEMPTION_SECONDS = 30.0
"""From the notice until a spot VM is switched off."""
_HEADERS = MappingProxyType({"Metadata-Flavor": "Google"})


def read_preempted(text: str) -> Notice | None:
    """Return the announcement in `instance/preempted`. Raises UnreadableError."""
    match text.strip().upper():
        case "TRUE":
            return Notice(kind=NoticeKind.TERMINATION, source=PREEMPTED)
        case "FALSE":
            return None
        case _:
            raise UnreadableError("neither TRUE nor FALSE")


def read_maintenance(text: str) -> Notice | None:
    """Return the announcement in `instance/maintenance-event`. Raises UnreadableError.

    The page does not say when. VMs with GPUs are told an hour before, others a minute; so the time is left open. A VM
    that is moved while it runs does not notice much, and VMs with GPUs are never moved.
    """
    match text.strip().upper():
        case "TERMINATE_ON_HOST_MAINTENANCE":
            return Notice(kind=NoticeKind.MAINTENANCE, source=MAINTENANCE)
        case "NONE" | "MIGRATE_ON_HOST_MAINTENANCE":
            return None
        case _:
            raise UnreadableError("no maintenance event that is known")


QUESTIONS = (
    Question(
        source=PREEMPTED,
        path="/computeMetadata/v1/instance/preempted",
        headers=_HEADERS,
        read=read_preempted,
        lead_seconds=PREEMPTION_SECONDS,
    ),
    Question(
        source=MAINTENANCE,
        path="/computeMetadata/v1/instance/maintenance-event",
        headers=_HEADERS,
        read=read_maintenance,
    ),
)
