"""A held stream that has its head already: comments while it waits, then the replica's answer."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from gptoss_runtime.activator.events import LARGEST_ERROR_BYTES, comment, error_end
from gptoss_runtime.activator.forward import Answer, Forwarder, ForwardError, Request
from gptoss_runtime.activator.refusal import Refusal
from gptoss_runtime.activator.wire import BOUNCED_HEADER, Wire
from gptoss_runtime.gateway_contract import HELD_STATUS


ON_ITS_WAY = "a replica is ready; this request is on its way to it"
"""Comment between the release and the answer's first byte."""
AGAIN_SECONDS = 0.1
"""Before a request that found no replica waits for its turn again."""

Turn = asyncio.Future[Refusal | None]
"""Done when the wait is over: None lets the request go on."""


class HeldStream:
    """Answers one held stream. From its head on, HAProxy cannot send it to a replica any more, so this does."""

    def __init__(self, wire: Wire, request: Request, *, forwarder: Forwarder, heartbeat_seconds: float) -> None:
        self._wire = wire
        self._request = request
        self._forwarder = forwarder
        self._heartbeat_seconds = heartbeat_seconds

    async def answer(self, turn: Turn, wait_again: Callable[[], Turn], progress: Callable[[], str]) -> None:
        """Answer to the end. `wait_again` gives a new turn when no replica took the request after all."""
        self._wire.begin_stream()
        while True:
            beating = asyncio.create_task(self._beat(progress))
            try:
                refusal = await turn
            finally:
                beating.cancel()
            if refusal is not None:
                await self._fail(refusal.body(), refusal.status)
                return
            if await self._carried():
                return
            await asyncio.sleep(AGAIN_SECONDS)
            turn = wait_again()

    async def _beat(self, text: Callable[[], str]) -> None:
        while True:
            await self._wire.send(comment(text()))
            await asyncio.sleep(self._heartbeat_seconds)

    async def _carried(self) -> bool:
        """Return whether the request has got its answer from a replica."""
        beating = asyncio.create_task(self._beat(lambda: ON_ITS_WAY))
        try:
            async with self._forwarder.send(self._request, tries=1) as answer:
                beating.cancel()
                if _no_replica(answer):
                    return False
                await self._relay(answer)
        except ForwardError:
            return False
        finally:
            beating.cancel()
        return True

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


def _no_replica(answer: Answer) -> bool:
    return answer.status == HELD_STATUS or bool(answer.header(BOUNCED_HEADER))


async def _read(answer: Answer) -> bytes:
    """Return the body of an error, as much of it as is worth having."""
    body = b""
    with suppress(ForwardError):
        async for chunk in answer.chunks():
            body += chunk
            if len(body) > LARGEST_ERROR_BYTES:
                break
    return body
