"""One connection from HAProxy to the hold's socket: one request, one answer, then it is closed.

A protocol of our own and not aiohttp's server, because of the moment when all that is held goes on: 1,000 answers cost
aiohttp's server 53 to 87 ms of CPU, and this 18 to 25 ms (measured on the same machine, Python 3.11).
"""

import asyncio
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import cast

from gptoss_runtime.activator.forward import Request
from gptoss_runtime.activator.hold.refusal import Refusal
from gptoss_runtime.activator.hold.wire_reader import RequestReader, UnreadableRequest
from gptoss_runtime.gateway_contract import HELD_STATUS, Header


_CLOSE = b"content-length: 0\r\nconnection: close\r\n\r\n"
_GO_ON = f"HTTP/1.1 {HELD_STATUS} {HTTPStatus(HELD_STATUS).phrase}\r\n".encode() + _CLOSE
_BOUNCE = f"HTTP/1.1 429 {HTTPStatus(429).phrase}\r\n{Header.HELD}: again\r\n".encode() + _CLOSE
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"x-accel-buffering: no\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
)


class Wire(asyncio.Protocol):
    """One request of HAProxy's, and its answer."""

    def __init__(
        self, *, max_body_bytes: int, asked: Callable[["Wire", Request], None], gone: Callable[["Wire"], None]
    ) -> None:
        self._reader: RequestReader | None = RequestReader(max_body_bytes)
        self._asked = asked
        self._gone = gone
        self._may_write = asyncio.Event()
        self._may_write.set()

    def go_on(self) -> None:
        """Answer so that HAProxy sends the request, which it has kept, to a replica."""
        self._answer(_GO_ON)

    def bounce(self) -> None:
        """Answer a request that came back to where it was sent from."""
        self._answer(_BOUNCE)

    def refuse(self, refusal: Refusal) -> None:
        """Answer with an error that the client gets."""
        body = refusal.body()
        lines = [f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}", "content-type: application/json"]
        lines.append(f"{Header.CODE}: {refusal.code}")
        if refusal.retry_after_seconds is not None:
            lines.append(f"retry-after: {refusal.retry_after_seconds}")
        lines += [f"content-length: {len(body)}", "connection: close", "", ""]
        self._answer("\r\n".join(lines).encode() + body)

    def begin_stream(self) -> None:
        """Send the head of a stream of events."""
        self._transport.write(_STREAM_HEAD)

    def begin_answer(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Send the head of an answer whose length is not known."""
        # No phrase: a replica may have statuses of its own.
        lines = [f"HTTP/1.1 {status} ", *(f"{name}: {value}" for name, value in headers)]
        lines += ["transfer-encoding: chunked", "connection: close", "", ""]
        self._transport.write("\r\n".join(lines).encode("latin-1"))

    async def send(self, data: bytes) -> None:
        """Send a piece of the stream, as soon as HAProxy takes it."""
        await self._may_write.wait()
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end_stream(self) -> None:
        """End the stream as complete."""
        self._answer(b"0\r\n\r\n")

    def cut_stream(self) -> None:
        """End the stream so that HAProxy sees that it is not complete."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Read on, until the request is complete."""
        if self._reader is None:
            return
        try:
            request = self._reader.feed(data)
        except UnreadableRequest as error:
            self._reader = None
            message = f"The gateway cannot read its own request: {error}"
            self.refuse(Refusal(status=400, code="bad_request", kind="invalid_request_error", message=message))
            return
        if request is not None:
            self._reader = None
            self._asked(self, request)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Say that nobody waits for the answer any more."""
        self._may_write.set()
        self._gone(self)

    def pause_writing(self) -> None:
        """Let `send` wait: HAProxy's client reads slowly."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Let `send` go on."""
        self._may_write.set()

    def _answer(self, data: bytes) -> None:
        self._transport.write(data)
        self._transport.close()
