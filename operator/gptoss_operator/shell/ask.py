"""Asks one replica or gateway for its state, over a connection that is kept between questions.

A client of its own, since thousands of replicas are asked every few seconds: a general HTTP client takes three times
the work for each. It speaks just enough HTTP/1.1, and refuses what it does not speak.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Generic, TypeVar

import msgspec

from gptoss_operator.shell.samples import Result, ScrapeFailed
from gptoss_runtime.contract import VERSION, ReplicaState
from gptoss_runtime.gateway_contract import GatewayState


T = TypeVar("T")

Decode = Callable[[bytes], T | ScrapeFailed]
"""Reads the body of an answer."""

DEADLINE_SECONDS: Final = 2.0
"""How long an answer may take."""
HEAD_MAX_BYTES: Final = 8 * 1024
BODY_MAX_BYTES: Final = 128 * 1024
"""A replica's state document has about one KiB, that of a gateway with a thousand replicas up to 60; who sends more is
none of ours."""

STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 (\d{3})[ \r]")
LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
CLOSES: Final = re.compile(rb"\r\nconnection:[ \t]*close[ \t]*\r\n", re.IGNORECASE)
ENCODED: Final = re.compile(rb"\r\n(?:transfer|content)-encoding:", re.IGNORECASE)


class _Versioned(msgspec.Struct):
    version: int = 0


_version = msgspec.json.Decoder(_Versioned)
_replica_state = msgspec.json.Decoder(ReplicaState)
_gateway_state = msgspec.json.Decoder(GatewayState)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    body: bytes
    keep: bool
    """Whether the connection may be used again."""


class Line(Generic[T]):
    """The way to one pod. One question at a time."""

    def __init__(self, address: str, port: int, decode: Decode[T]) -> None:
        """`address` is an IPv4 or IPv6 address. Nothing is sent before the first question."""
        self.address = address
        self._decode = decode
        self._port = port
        host = f"[{address}]" if ":" in address else address
        self._request = f"GET /state HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
        self._connection: _Connection | None = None

    async def ask(self, deadline_seconds: float = DEADLINE_SECONDS) -> T | ScrapeFailed:
        """Return what the pod says of itself, or why that is not known."""
        answer: Answer | ScrapeFailed
        try:
            async with asyncio.timeout(deadline_seconds):
                answer = await self._exchange()
        except TimeoutError:
            answer = ScrapeFailed(result=Result.LATE, reason=f"no answer within {deadline_seconds:g} s")
        except OSError as error:
            answer = ScrapeFailed(result=Result.UNREACHABLE, reason=str(error) or type(error).__name__)
        if isinstance(answer, ScrapeFailed):
            self.close()
            return answer
        if not answer.keep:
            self.close()
        if answer.status != HTTPStatus.OK:
            return ScrapeFailed(result=Result.REFUSED, reason=f"it answered with status {answer.status}")
        return self._decode(answer.body)

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    async def _exchange(self) -> Answer | ScrapeFailed:
        if self._connection is not None and not self._connection.lost:
            answer = await self._connection.ask(self._request)
            # A server may end a kept connection at the very moment that it is used again.
            if isinstance(answer, Answer) or answer.result is not Result.UNREACHABLE:
                return answer
        loop = asyncio.get_running_loop()
        _, self._connection = await loop.create_connection(_Connection, self.address, self._port)
        return await self._connection.ask(self._request)


def decoded(body: bytes) -> ReplicaState | ScrapeFailed:
    """Return the state document in `body`: the same as `ReplicaState.decode` gives, in a third of its time."""
    return _decoded(body, _replica_state)


def decoded_gateway(body: bytes) -> GatewayState | ScrapeFailed:
    """Return the state document of a gateway in `body`."""
    return _decoded(body, _gateway_state)


def _decoded(body: bytes, decoder: msgspec.json.Decoder[T]) -> T | ScrapeFailed:
    try:
        version = _version.decode(body).version
        if version == VERSION:
            return decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        return _unreadable(f"no state document: {error}")
    return _unreadable(f"its document is of version {version}; this operator reads {VERSION}")


def answer_in(received: bytes) -> Answer | ScrapeFailed | None:
    """Return the HTTP answer that `received` begins with, why it is none, or None while it is not complete."""
    end = received.find(b"\r\n\r\n", 0, HEAD_MAX_BYTES)
    if end < 0:
        return _unreadable("it sent no HTTP answer") if len(received) >= HEAD_MAX_BYTES else None
    head = received[: end + 2]
    status, length = STATUS_LINE.match(head), LENGTH.findall(head)
    if status is None or len(length) != 1 or ENCODED.search(head):
        return _unreadable("it sent no HTTP/1.1 answer of a plain body with its length")
    size = int(length[0])
    if size > BODY_MAX_BYTES:
        return _unreadable(f"it sent more than {BODY_MAX_BYTES} bytes")
    whole = end + 4 + size
    if len(received) < whole:
        return None
    keep = len(received) == whole and not CLOSES.search(head)
    return Answer(status=int(status[1]), body=received[end + 4 : whole], keep=keep)


class _Connection(asyncio.Protocol):
    """One connection. What comes without a question ends it."""

    def __init__(self) -> None:
        self.lost = False
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._answer: asyncio.Future[Answer | ScrapeFailed] | None = None

    async def ask(self, request: bytes) -> Answer | ScrapeFailed:
        self._received = b""
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport is None or self.lost:
            return _broken(None)
        self._transport.write(request)
        return await self._answer

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's, as this is a stream

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._answer is None or self._answer.done():
            self.abort()
            return
        answer = answer_in(self._received)
        if answer is not None:
            self._answer.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(_broken(exc))


def _broken(error: Exception | None) -> ScrapeFailed:
    return ScrapeFailed(result=Result.UNREACHABLE, reason=str(error or "it ended the connection"))


def _unreadable(reason: str) -> ScrapeFailed:
    return ScrapeFailed(result=Result.UNREADABLE, reason=reason)
