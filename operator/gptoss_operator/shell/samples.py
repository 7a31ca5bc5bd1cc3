"""What the replicas last said of themselves, how old that is, and whether it tells the core anything new."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from gptoss_runtime.contract import ReplicaState


class Result(StrEnum):
    """How a question for a replica's state came out."""

    OK = "ok"
    UNREACHABLE = "unreachable"
    """No connection, or one that broke."""
    LATE = "late"
    """No whole answer in time."""
    REFUSED = "refused"
    """Another status than 200."""
    UNREADABLE = "unreadable"
    """Not a state document of the version that is spoken here, or too long."""
    OLD = "old"
    """A document that is not newer than the one before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrapeFailed:
    """Why a replica's state is not known. What follows from that is for the core to decide."""

    result: Result
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One state document."""

    state: ReplicaState
    taken_at: float
    """When the answer came, on the samples' clock."""


class Taken(NamedTuple):
    """What became of one answer."""

    result: Result
    news: bool
    """Whether the core would now see something else than before."""


class Samples:
    """The last answer of each replica, by its pod's uid."""

    def __init__(self, *, fresh_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Ignore samples older than `fresh_seconds`. `clock` does not go back."""
        self._fresh_seconds = fresh_seconds
        self._clock = clock
        self._samples: dict[str, Sample] = {}
        self._failures: dict[str, ScrapeFailed] = {}

    def fresh(self, uid: str) -> ReplicaState | None:
        """Return what the replica said, unless that is too long ago."""
        sample = self._samples.get(uid)
        if sample is None or self._clock() - sample.taken_at > self._fresh_seconds:
            return None
        return sample.state

    def silent(self, uid: str) -> ScrapeFailed | None:
        """Return why nothing is known of a replica that was asked, or None."""
        return None if self.fresh(uid) else self._failures.get(uid)

    def take(self, uid: str, answer: ReplicaState | ScrapeFailed) -> Taken:
        """Take in what came of a question."""
        before = self._samples.get(uid)
        if isinstance(answer, ReplicaState) and before is not None and _is_old(answer, before.state):
            answer = ScrapeFailed(result=Result.OLD, reason=f"document {answer.sequence} again")
        if isinstance(answer, ScrapeFailed):
            self._failures[uid] = answer
            if before is not None and self.fresh(uid) is None:
                del self._samples[uid]
                return Taken(answer.result, news=True)
            return Taken(answer.result, news=False)
        known = self.fresh(uid)
        self._failures.pop(uid, None)
        self._samples[uid] = Sample(state=answer, taken_at=self._clock())
        return Taken(Result.OK, news=known is None or _says(known) != _says(answer))

    def keep_only(self, uids: Collection[str]) -> None:
        """Drop what is remembered of all other pods: they are gone, or do not run any more."""
        for known in (self._samples, self._failures):
            for uid in known.keys() - uids:
                del known[uid]


def _is_old(state: ReplicaState, before: ReplicaState) -> bool:
    return state.start_id == before.start_id and state.sequence <= before.sequence


def _says(state: ReplicaState) -> tuple[object, ...]:
    """Return what conditions and events are made of: everything but the numbers."""
    return state.start_id, state.phase, state.verdict, state.checks, state.notice
