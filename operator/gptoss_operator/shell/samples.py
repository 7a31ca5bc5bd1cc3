"""What the replicas last said of themselves, how old that is, and whether it tells the core anything new."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple

from gptoss_runtime.contract import ReplicaState


STEADY: Final = 3
"""A check of the deep health report has changed when so many documents in a row say so. Some go to and fro: a cache is
full for a moment."""


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


Answers = dict[str, bool | None]
"""Whether each check of the deep health report is passed."""


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
        self._unsteady: dict[str, tuple[Answers, int]] = {}
        """Answers to the checks that differ from those that count, and how many documents in a row gave them."""

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
        if known is not None:
            answer = self._steadied(uid, answer, known)
        self._samples[uid] = Sample(state=answer, taken_at=self._clock())
        return Taken(Result.OK, news=known is None or _says(known) != _says(answer))

    def keep_only(self, uids: Collection[str]) -> None:
        """Drop what is remembered of all other pods: they are gone, or do not run any more."""
        for known in (self._samples, self._failures, self._unsteady):
            for uid in known.keys() - uids:
                del known[uid]

    def _steadied(self, uid: str, state: ReplicaState, before: ReplicaState) -> ReplicaState:
        """Return `state` with the checks that count: those of `before` until other answers have proved steady."""
        answers, (others, times) = _answers(state), self._unsteady.pop(uid, (None, 0))
        if state.start_id != before.start_id or answers == _answers(before):
            return state
        times = times + 1 if answers == others else 1
        if times >= STEADY:
            return state
        self._unsteady[uid] = answers, times
        return replace(state, checks=before.checks)


def _is_old(state: ReplicaState, before: ReplicaState) -> bool:
    return state.start_id == before.start_id and state.sequence <= before.sequence


def _answers(state: ReplicaState) -> Answers:
    return {name: check.ok for name, check in state.checks.items()}


def _says(state: ReplicaState) -> tuple[object, ...]:
    """Return what conditions and events are made of: everything but the numbers."""
    return state.start_id, state.phase, state.verdict, state.checks, state.notice
