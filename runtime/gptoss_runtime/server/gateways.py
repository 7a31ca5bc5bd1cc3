"""Which gateways are there, and how many requests each has here: what is needed to share the capacity."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from gptoss_runtime.server.sharing import grant


LIVE_SECONDS = 2.0
"""How long after its last agent check a gateway counts as being there, and a count of requests as true."""
COUNT_EVERY_SECONDS = 0.25

Clock = Callable[[], float]
AskInFlight = Callable[[], Awaitable[Mapping[str, int] | None]]


class Gateways:
    """Remembers who asks on the agent port. Used from one event loop only."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._asked_at: dict[str, float] = {}
        self._in_flight: Mapping[str, int] = {}
        self._counted_at = float("-inf")

    def note_check(self, address: str) -> None:
        """Take note of an agent check from `address`."""
        self._asked_at[address] = self._clock()

    def note_in_flight(self, in_flight: Mapping[str, int] | None) -> None:
        """Take note of the requests by address; None when nobody could say."""
        if in_flight is not None:
            self._in_flight, self._counted_at = in_flight, self._clock()

    def live(self) -> frozenset[str]:
        """Return the addresses of those that asked lately, and forget the others."""
        oldest = self._clock() - LIVE_SECONDS
        self._asked_at = {address: at for address, at in self._asked_at.items() if at >= oldest}
        return frozenset(self._asked_at)

    def grant(self, address: str, capacity: int) -> int:
        """Return how many requests the gateway at `address` may have at the replica."""
        gateways = self.live()
        if not gateways - {address}:
            # Nobody to share with: then nobody counts either, and what was counted last may be long ago.
            return capacity
        known = self._clock() - self._counted_at <= LIVE_SECONDS
        return grant(capacity, address, gateways, self._in_flight if known else None)


async def keep_counting(gateways: Gateways, ask: AskInFlight) -> None:
    """Ask for the requests by address as long as they matter, which is while two gateways or more are there."""
    while True:
        if len(gateways.live()) > 1:
            gateways.note_in_flight(await ask())
        await asyncio.sleep(COUNT_EVERY_SECONDS)
