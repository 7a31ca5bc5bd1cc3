"""A held stream that has its head already: comments while it waits, then the replica's answer."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto

from gptoss_runtime.activator.events import LARGEST_ERROR_BYTES, comment, error_end
from gptoss_runtime.activator.forward import SEND_AGAIN, TRIES, Answer, Forwarder, ForwardError, Request
from gptoss_runtime.activator.refusal import Refusal
from gptoss_runtime.activator.wire import BOUNCED_HEADER, Wire
from gptoss_runtime.gateway_contract import HELD_STATUS


ON_ITS_WAY = "a replica is ready; this request is on its way to it"
"""Comment between the release and the answer's first byte."""
AGAIN_SECONDS = 0.1
"""Before a request that found no replica waits for its turn again."""

Turn = asyncio.Future[Refusal | None]
"""Done when the wait is over: None lets the request go on."""


class _Try(Enum):
    """How one try to get an answer ended."""

    ANSWERED = auto()
    NO_REPLICA = auto()
    """None was ready after all. That costs nothing, and may happen as often as it does."""
    LOST = auto()
    """A replica took it and broke off before its answer."""


class HeldStream:
    """Answers one held stream. From its head on, HAProxy cannot send it to a replica any more, so this does."""

    def __init__(self, wire: Wire, request: Request, *, forwarder: Forwarder, heartbeat_seconds: float) -> None:
        self._wire = wire
        self._request = request
        self._forwarder = forwarder
        self._heartbeat_seconds = heartbeat_seconds

    async def answer(self, turn: Turn, wait_again: Callable[[], Turn], progress: Callable[[], str]) -> None:
        """Answer to the end. `wait_again` gives a new turn when no replica took the request after all.

        A request that loses one replica after the other is given up: it may be the reason.
        """
        self._wire.begin_stream()
        tries_left = TRIES
        while True:
            refusal = await self._wait(turn, progress)
            if refusal is not None:
                await self._fail(refusal.body(), refusal.status)
                return
            outcome = await self._carry(last=tries_left == 1)
            if outcome is _Try.ANSWERED:
                return
            if outcome is _Try.LOST:
                tries_left -= 1
            await asyncio.sleep(AGAIN_SECONDS)
            turn = wait_again()

    async def _wait(self, turn: Turn, progress: Callable[[], str]) -> Refusal | None:
        beating = asyncio.create_task(self._beat(progress))
        try:
            return await turn
        finally:
            beating.cancel()

    async def _carry(self, *, last: bool) -> _Try:
        """Send the request and relay what comes. Where this is the last try, the client gets what it brought."""
        beating = asyncio.create_task(self._beat(lambda: ON_ITS_WAY))
        try:
            async with self._forwarder.send(self._request, tries=1) as answer:
                beating.cancel()
                if answer.status == HELD_STATUS or answer.header(BOUNCED_HEADER):
                    return _Try.NO_REPLICA
                if answer.status in SEND_AGAIN and not last:
                    return _Try.LOST
                await self._relay(answer)
        except ForwardError:
            if not last:
                return _Try.LOST
            await self._fail(b"", 502)
        finally:
            beating.cancel()
        return _Try.ANSWERED

    async def _beat(self, text: Callable[[], str]) -> None:
        while True:
            await self._wire.send(comment(text()))
            await asyncio.sleep(self._heartbeat_seconds)

    async def _relay(self, answer: Answer) -> None:
        if answer.status != 200:  # noqa: PLR2004 - OK
            await self._fail(await _read(answer), answer.status)
            return
        try:
            async for chunk in answer.chunks():
                await self._wire.send(chunk)
        except ForwardError:
            # HAProxy tells the client, as it does when a replica is lost behind it.
            self._wire.cut_stream()
        else:
            self._wire.end_stream()

    async def _fail(self, body: bytes, status: int) -> None:
        await self._wire.send(error_end(body, status))
        self._wire.end_stream()


async def _read(answer: Answer) -> bytes:
    """Return the body of an error, as much of it as is worth having."""
    body = b""
    with suppress(ForwardError):
        async for chunk in answer.chunks():
            body += chunk
            if len(body) > LARGEST_ERROR_BYTES:
                break
    return body
