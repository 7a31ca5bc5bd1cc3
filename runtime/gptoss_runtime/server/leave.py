"""Keeps the times of a replica's leaving. What to do when is decided in `drain`."""

import logging
import time

from gptoss_runtime.contract import Notice
from gptoss_runtime.server.drain import (
    DrainDecision,
    DrainLimits,
    DrainSeen,
    DrainStep,
    Reasons,
    is_time,
    matters,
    next_step,
)


log = logging.getLogger(__name__)


class Leaving:
    """Why and since when a replica leaves. Times are those of `time.monotonic`."""

    def __init__(self, limits: DrainLimits) -> None:
        self._limits = limits
        self._reasons = Reasons()
        self._began_at: float | None = None
        self._cut = False
        self._terminated_at: float | None = None
        self.notice: Notice | None = None

    @property
    def asked(self) -> bool:
        """Whether Kubernetes asked the server to end."""
        return self._reasons.asked_at is not None

    def ask(self) -> None:
        """Leave, and end. Asking again changes nothing: the time that requests were promised stays."""
        if self.asked:
            log.info("Asked to stop again; already draining")
            return
        now = time.monotonic()
        self._reasons = Reasons(
            asked_at=now, noticed_at=self._reasons.noticed_at, machine_goes_at=self._reasons.machine_goes_at
        )
        log.info("Asked to stop: requests may go on for %.0f s", self._limits.seconds)

    def hear(self, notice: Notice | None) -> None:
        """Take note of what the cloud announces; None when it announces nothing any more."""
        if notice == self.notice:
            return
        self.notice = notice
        if notice is None:
            log.info("The cloud announces nothing any more")
        else:
            log.warning("The cloud announces: %s (%s), deadline %s", notice.kind, notice.source, notice.deadline)
        now = time.monotonic()
        if notice is None or not matters(notice):
            self._reasons = Reasons(asked_at=self._reasons.asked_at)
            return
        self._reasons = Reasons(
            asked_at=self._reasons.asked_at,
            noticed_at=now,
            machine_goes_at=None if notice.deadline is None else now + notice.deadline - time.time(),
        )

    def is_time(self) -> bool:
        """Return whether the replica takes no more requests, from now on."""
        now = time.monotonic()
        if is_time(self._limits, self._reasons, now):
            self._began_at = now if self._began_at is None else self._began_at
            return True
        if self._cut:
            # vLLM refuses requests until the cut is lifted.
            return True
        self._began_at = None
        return False

    def next_step(self, *, was_ready: bool, in_flight: int | None, looked_at: float) -> DrainDecision | None:
        """Return what to do now; None while the replica stays.

        `in_flight` is what a look found that began at `looked_at`. It counts only when the look began after new
        requests had stopped coming.
        """
        if self._began_at is None or not self.is_time():
            return None
        now = time.monotonic()
        if self._cut and not is_time(self._limits, self._reasons, now):
            return DrainDecision(step=DrainStep.LIFT, reason="what was announced does not happen")
        late = looked_at >= self._began_at + self._limits.endpoint_grace_seconds
        seen = DrainSeen(
            now=now,
            began_at=self._began_at,
            was_ready=was_ready,
            in_flight=in_flight if late else None,
            cut=self._cut,
            since_terminate_seconds=None if self._terminated_at is None else now - self._terminated_at,
        )
        return next_step(self._limits, self._reasons, seen)

    def note_cut(self) -> None:
        """Take note that requests have been cut off."""
        self._cut = True

    def note_lifted(self) -> None:
        """Take note that requests are let in again."""
        self._cut = False

    def note_terminated(self) -> None:
        """Take note that the process has been asked to end."""
        self._terminated_at = time.monotonic()
