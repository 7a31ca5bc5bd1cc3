"""A held request that HAProxy cannot send on any more: this sends it, and relays the answer.

Two kinds are: a stream that got its head, so that comments can keep its connection open; and a request that lost
replicas before it came here, and may have used up HAProxy's retries by that.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from enum import Enum, auto
from http import HTTPStatus

from gptoss_runtime.activator.events import LARGEST_ERROR_BYTES, comment, error_end_of
from gptoss_runtime.activator.forward import SEND_AGAIN, TRIES, Answer, Forwarder, ForwardError, Request
from gptoss_runtime.activator.hold.refusal import Refusal, replicas_lost
from gptoss_runtime.activator.hold.wire import Wire
from gptoss_runtime.gateway_contract import HELD_STATUS, Header


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


class Carried:
    """Answers one held request in the place of HAProxy's next try."""

    def __init__(
        self,
        wire: Wire,
        request: Request,
        *,
        forwarder: Forwarder,
        heartbeat_seconds: float | None,
        first_heartbeat_seconds: float = 0.0,
    ) -> None:
        """`heartbeat_seconds` is None for what is no stream; the first one sends the head."""
        self._wire = wire
        self._request = request
        self._forwarder = forwarder
        self._heartbeat_seconds = heartbeat_seconds
        self._first_heartbeat_seconds = first_heartbeat_seconds
        self._begun = False
        """Whether the client has the head of a stream."""

    async def answer(self, turn: Turn, wait_again: Callable[[], Turn], progress: Callable[[], str]) -> None:
        """Answer to the end. `wait_again` gives a new turn when no replica took the request after all.

        A request that loses one replica after the other is given up: it may be the reason.
        """
        tries_left = TRIES
        while True:
            refusal = await self._wait(turn, progress)
            if refusal is not None:
                await self._refuse(refusal)
                return
            outcome = await self._carry(last=tries_left == 1)
            if outcome is _Try.ANSWERED:
                return
            if outcome is _Try.LOST:
                tries_left -= 1
            await asyncio.sleep(AGAIN_SECONDS)
            turn = wait_again()

    async def _wait(self, turn: Turn, progress: Callable[[], str]) -> Refusal | None:
        async with self._beating(progress):
            return await turn

    async def _carry(self, *, last: bool) -> _Try:
        """Send the request and relay what comes. Where this is the last try, the client gets what it brought."""
        try:
            async with AsyncExitStack() as sending:
                if self._begun:
                    await sending.enter_async_context(self._beating(lambda: ON_ITS_WAY))
                answer = await sending.enter_async_context(self._forwarder.send(self._request, tries=1))
                if answer.status == HELD_STATUS or answer.header(Header.HELD):
                    return _Try.NO_REPLICA
                if answer.status in SEND_AGAIN and not last:
                    return _Try.LOST
                await self._relay(answer)
        except ForwardError:
            if not last:
                return _Try.LOST
            await self._refuse(replicas_lost())
        return _Try.ANSWERED

    @asynccontextmanager
    async def _beating(self, text: Callable[[], str]) -> AsyncIterator[None]:
        if self._heartbeat_seconds is None:
            yield
            return
        beating = asyncio.create_task(self._beat(self._heartbeat_seconds, text))
        try:
            yield
        finally:
            beating.cancel()

    async def _beat(self, seconds: float, text: Callable[[], str]) -> None:
        if not self._begun:
            await asyncio.sleep(self._first_heartbeat_seconds)
            self._wire.begin_stream()
            self._begun = True
        while True:
            await self._wire.send(comment(text()))
            await asyncio.sleep(seconds)

    async def _relay(self, answer: Answer) -> None:
        if not self._begun:
            self._wire.begin_answer(answer.status, answer.headers)
        elif answer.status != HTTPStatus.OK:
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

    async def _refuse(self, refusal: Refusal) -> None:
        if self._begun:
            await self._fail(refusal.body(), refusal.status)
        else:
            self._wire.refuse(refusal)

    async def _fail(self, body: bytes, status: int) -> None:
        await self._wire.send(error_end_of(body, status))
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
