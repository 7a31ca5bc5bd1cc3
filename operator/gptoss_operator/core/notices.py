"""What replicas were told of their machines' near future, in the status and in words."""

from collections.abc import Iterable

from gptoss_operator.api.status import InterruptionNotice
from gptoss_operator.core.dates import shown_date
from gptoss_runtime.contract import Notice, NoticeKind


SHOWN_AT_MOST = 100
"""Notices in the status. A cloud that takes back more machines at once is told of by the first of them."""
SOURCE_LENGTH = 100
COMING = {
    NoticeKind.TERMINATION: ("its machine will be taken away", "it finishes its requests"),
    NoticeKind.MAINTENANCE: ("its machine will be stopped for maintenance", "it finishes its requests"),
    NoticeKind.REBALANCE: ("its machine may be taken away soon", "its requests go on"),
}
"""What is going to happen, and what the replica does about it."""


def shown(notices: Iterable[tuple[str, Notice]]) -> tuple[InterruptionNotice, ...]:
    """Return the notices of the named replicas as the status shows them."""
    every = (
        InterruptionNotice(
            replica=replica,
            kind=notice.kind,
            source=" ".join(notice.source.split())[:SOURCE_LENGTH],
            deadline=shown_date(notice.deadline),
        )
        for replica, notice in notices
    )
    return tuple(notice for notice, _ in zip(every, range(SHOWN_AT_MOST), strict=False))


def words_of(notice: InterruptionNotice) -> str:
    """Return what is going to happen, when and who said so, and what the replica does about it."""
    what, reaction = COMING[notice.kind]
    when = f" at {notice.deadline}" if notice.deadline else ""
    return f"{what}{when} ({notice.source}): {reaction}"
