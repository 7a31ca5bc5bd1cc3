"""Hands an answer on to the client that waits for it: piece by piece, or collected."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web
from multidict import CIMultiDict

from gptoss_runtime.activator.forward import Answer, ForwardError


class End(StrEnum):
    """How an answer ended."""

    WHOLE = "whole"
    BROKEN = "broken"
    """The connection was lost in the middle."""
    TOO_LARGE = "too_large"
    """More than was asked for; the rest was not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """The body of an answer, as far as it was kept."""

    body: bytes
    end: End


async def collect(answer: Answer, *, limit_bytes: int) -> Collected:
    """Return the body of an answer, up to a limit."""
    body = bytearray()
    try:
        async for chunk in answer.chunks():
            body += chunk
            if len(body) > limit_bytes:
                return Collected(body=b"", end=End.TOO_LARGE)
    except ForwardError:
        return Collected(body=bytes(body), end=End.BROKEN)
    return Collected(body=bytes(body), end=End.WHOLE)


async def relay(
    request: web.Request, answer: Answer, *, added: Mapping[str, str], keep_bytes: int
) -> tuple[web.StreamResponse, Collected]:
    """Pass an answer on as it comes, and return what of it was kept: all, if it has at most `keep_bytes`.

    Where the replica breaks off, the client's connection breaks off as well: it must not take a part for the whole.
    """
    response = await begin(request, answer.status, answer.headers, added)
    body: bytearray | None = bytearray()
    try:
        async for chunk in answer.chunks():
            if body is not None:
                body += chunk
                body = body if len(body) <= keep_bytes else None
            await response.write(chunk)
    except ForwardError:
        cut(request)
        return response, Collected(body=b"", end=End.BROKEN)
    await response.write_eof()
    end = End.TOO_LARGE if body is None else End.WHOLE
    return response, Collected(body=bytes(body or b""), end=end)


async def begin(
    request: web.Request, status: int, headers: Iterable[tuple[str, str]], added: Mapping[str, str]
) -> web.StreamResponse:
    """Send the head of an answer."""
    response = web.StreamResponse(status=status, headers=CIMultiDict([*headers, *added.items()]))
    await response.prepare(request)
    return response


def cut(request: web.Request) -> None:
    """End a connection after what was written to it, without the mark of a complete answer."""
    if request.transport is not None:
        request.transport.close()


@asynccontextmanager
async def heartbeats(response: web.StreamResponse, *, seconds: float, comment: bytes) -> AsyncIterator[None]:
    """Write a comment into a stream every so many seconds, as long as the context lasts."""

    async def beat() -> None:
        # A client that is gone ends the handler itself.
        with suppress(ConnectionError):
            while True:
                await asyncio.sleep(seconds)
                await response.write(comment)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.wait({beating})
