"""Which replicas nobody reaches any more, long before Kubernetes takes their node for lost.

That a replica does not answer the operator is evidence of nothing: the network between the two may be broken. It counts
when the gateways do not reach it either, who were asked since, and when it took requests before.
"""

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final


TIMES: Final = 2
"""Questions in a row that it must have left without an answer."""

Word = bool | None
"""Whether a gateway finds a replica alive. None: it does not know it, or has said nothing since."""


def nobody_reaches(times: int, words: Collection[Word]) -> bool | None:
    """Return whether a replica that left `times` questions in a row unanswered is out of everybody's reach.

    `words` are those of all gateways that answer. None: that cannot be told.
    """
    if any(words):
        return False
    if times < TIMES or not words or None in words:
        return None
    return True


@dataclass(slots=True)
class _Silence:
    since: float
    since_date: datetime
    times: int = 0
    is_proved: bool = False


class Reach:
    """What is known of each replica, by its pod's uid."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, date: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """`clock` does not go back."""
        self._clock = clock
        self._date = date
        self._took_requests: set[str] = set()
        self._silences: dict[str, _Silence] = {}

    def answered(self, uid: str, *, ready: bool | None = None) -> bool:
        """Take in that a replica answered, and whether it takes requests; None: it said nothing of that.

        Return whether it was out of reach before.
        """
        if ready:
            self._took_requests.add(uid)
        elif ready is False:
            self._took_requests.discard(uid)
        silence = self._silences.pop(uid, None)
        return silence is not None and silence.is_proved

    def failed(self, uid: str) -> int:
        """Take in that a replica did not answer. Return how many times in a row; zero if it means nothing.

        One that took no requests when it last answered may be starting or leaving, and no gateway would know it.
        """
        if uid not in self._took_requests:
            return 0
        silence = self._silences.setdefault(uid, _Silence(self._clock(), self._date()))
        silence.times += 1
        return silence.times

    def silent_since(self, uid: str) -> float | None:
        """Return since when a replica has not answered, on the clock; None: it did, or it means nothing."""
        silence = self._silences.get(uid)
        return silence.since if silence else None

    def weigh(self, uid: str, words: Iterable[Word]) -> bool:
        """Weigh what the gateways say of a replica that does not answer. Return whether that changes anything."""
        silence = self._silences.get(uid)
        if silence is None:
            return False
        verdict = nobody_reaches(silence.times, list(words))
        if verdict is None or verdict is silence.is_proved:
            return False
        silence.is_proved = verdict
        return True

    def out_of_reach_since(self, uid: str) -> datetime | None:
        """Return since when nobody reaches a replica. None: somebody does, or it is not known."""
        silence = self._silences.get(uid)
        return silence.since_date if silence and silence.is_proved else None

    def keep_only(self, uids: Collection[str]) -> None:
        """Drop what is known of all other pods."""
        self._took_requests &= set(uids)
        for uid in self._silences.keys() - uids:
            del self._silences[uid]
