"""Limits of a tenant that hold over all gateways: what each may let through, from what the others do. Pure."""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


WINDOW_SECONDS = 60
"""Tokens are counted over this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a tenant does at one gateway."""

    requests: int = 0
    """Let through in the last second."""
    running: int = 0
    """Requests that run or wait now."""
    tokens: int = 0
    """In the last minute."""


NOTHING = Use()


def share(limit: int, others: Sequence[int]) -> int:
    """Return how much of `limit` this gateway may use while the others use as much as `others` says.

    Whoever uses less than an equal part keeps what he uses, and the rest is divided equally among the others, of whom
    this is one. So one gateway alone, or among idle ones, has the whole limit, and gateways that all want more than
    there is have equal parts. Together they let through at most `limit` and one more each, for rounding and since
    nobody gets less than one; only in the moment when demand appears somewhere, until the others hear of it, more.
    """
    rest = float(limit)
    takers = len(others) + 1
    for use in sorted(others):
        if use * takers >= rest:
            break
        rest -= use
        takers -= 1
    return min(max(math.ceil(rest / takers), 1), limit)


class TokenWindow:
    """Tokens of one tenant at this gateway in the last minute, by second."""

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, int]] = deque()

    def add(self, tokens: int, now: float) -> None:
        """Count tokens that were used now."""
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            tokens += self._seconds.pop()[1]
        self._seconds.append((second, tokens))
        self._forget(second)

    def used(self, now: float) -> int:
        """Return the tokens of the last minute."""
        self._forget(int(now))
        return sum(tokens for _, tokens in self._seconds)

    def blocked_seconds(self, limit: int, others: int, now: float) -> int:
        """Return how long the tenant must wait until less than `limit` tokens are in the window. Zero: he need not.

        `others` is what the other gateways counted. When that slides out is not known here: taken as spread evenly.
        """
        used = self.used(now)
        if used + others < limit:
            return 0
        end = int(now) - WINDOW_SECONDS
        for wait in range(1, WINDOW_SECONDS):
            own = sum(tokens for second, tokens in self._seconds if second > end + wait)
            if own + others * (WINDOW_SECONDS - wait) / WINDOW_SECONDS < limit:
                return wait
        return WINDOW_SECONDS

    def _forget(self, second: int) -> None:
        while self._seconds and self._seconds[0][0] <= second - WINDOW_SECONDS:
            self._seconds.popleft()


def read_table(text: str) -> dict[str, Use]:
    """Return what each tenant does at this gateway, from HAProxy's `show table`. Other lines are left out."""
    return dict(filter(None, (_row(line.split()) for line in text.splitlines())))


def _row(words: Iterable[str]) -> tuple[str, Use] | None:
    cells = dict(word.split("=", 1) for word in words if "=" in word)
    if "key" not in cells:
        return None
    requests, running = cells.get("gpc0_rate(1000)", "0"), cells.get("conn_cur", "0")
    return cells["key"], Use(requests=int(requests), running=int(running))
