"""Ending every request at once, when the replica's time is over. Standard library only.

vLLM's own shutdown would leave open streams hanging without an end. Here each is ended as its client understands it,
and vLLM hears that its client is gone. Requests that come later are refused, until the cut is lifted: a machine that
was announced to go may stay after all.
"""

import asyncio
import hmac
import os
from typing import Final

from gptoss_runtime.server.books import CUT_TOKEN_ENV
from gptoss_runtime.server.exchange import Exchange


CUT_SECONDS: Final = 1.0
"""Bound of a cut; a client that reads nothing does not hold it up."""
_CANCEL_SECONDS: Final = 0.2
"""How much of it is for what does not end when it hears that its client is gone, and is cancelled."""


class Cut:
    """The requests that are open, and whether they may be."""

    def __init__(self, token: str | None = None) -> None:
        self._token = os.environ.get(CUT_TOKEN_ENV, "") if token is None else token
        self._open: set[Exchange] = set()
        self._ended = asyncio.Event()
        self.is_made = False
        """Whether requests are refused."""

    def allows(self, token: str) -> bool:
        """Return whether `token` is the one that may cut; none is where the environment names none."""
        return bool(self._token) and hmac.compare_digest(token.encode(), self._token.encode())

    def enter(self, exchange: Exchange) -> None:
        """Note a request that came."""
        self._open.add(exchange)

    def leave(self, exchange: Exchange) -> None:
        """Note that the application is done with a request."""
        self._open.discard(exchange)
        if not self._open:
            self._ended.set()

    def lift(self) -> None:
        """Let requests in again."""
        self.is_made = False

    async def make(self) -> dict[str, int]:
        """End all requests. Return how many were `streams` that had begun, and how many `others`.

        Returns when all have ended, or after `CUT_SECONDS`.
        """
        self.is_made = True
        cut = tuple(exchange for exchange in self._open if not exchange.was_cut)
        streams = sum(exchange.streams for exchange in cut)
        farewells = [asyncio.ensure_future(exchange.cut_off()) for exchange in cut]
        try:
            await self._all_ended(CUT_SECONDS - _CANCEL_SECONDS)
            for exchange in self._open:
                exchange.cancel()
            await self._all_ended(_CANCEL_SECONDS)
        finally:
            for farewell in farewells:
                farewell.cancel()
            # A client that is gone already is not told; it need not be.
            await asyncio.gather(*farewells, return_exceptions=True)
        return {"streams": streams, "others": len(cut) - streams}

    async def _all_ended(self, seconds: float) -> None:
        """Wait until no request is open, at most so long."""
        if not self._open:
            return
        self._ended.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            return
