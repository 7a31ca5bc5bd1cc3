"""One thing that a metadata service is asked, and how notices compare. Pure."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gptoss_runtime.contract import Notice, NoticeKind


TIMEOUT_SECONDS = 5.0
"""An answer takes milliseconds, but a slow one must be heard, too: the shortest notice is half a minute."""
_URGENCY = (NoticeKind.REBALANCE, NoticeKind.MAINTENANCE, NoticeKind.TERMINATION)


class UnreadableError(ValueError):
    """An answer is not what it should be; the message says in what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A page of a metadata service."""

    source: str
    """What notices from here are called, such as `AWS spot/instance-action`."""
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    read: Callable[[str], Notice | None]
    """From the text of the page to what it announces. Raises UnreadableError."""
    absent_is_nothing: bool = False
    """Whether 404 is how the service says that it announces nothing."""
    lead_seconds: float | None = None
    """How long before the machine goes the page appears, where the page itself does not say when it goes."""
    timeout_seconds: float = TIMEOUT_SECONDS
    first_timeout_seconds: float = TIMEOUT_SECONDS
    """The same until it has answered once."""


def most_urgent(notices: Iterable[Notice]) -> Notice | None:
    """Return the notice that leaves the least choice: what surely goes before what may, the sooner before the later.

    One that does not say when may mean now.
    """
    return max(notices, key=_urgency, default=None)


def _urgency(notice: Notice) -> tuple[int, float]:
    return _URGENCY.index(notice.kind), math.inf if notice.deadline is None else -notice.deadline
