"""Sends a request on to a replica by HAProxy's inner socket, and gives its answer piece by piece."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from multidict import CIMultiDict
from yarl import URL


TRIES = 5
"""How often a request is sent before any byte of an answer came."""
PAUSE_SECONDS = 0.1
"""Before the third try; twice this before the fourth. The second follows at once: the first may just have been held."""
SEND_AGAIN = frozenset({502, 503})
"""A replica was lost before it answered; no replica takes the request, or it was held and may go on now."""
CONNECT_SECONDS = 5.0
"""How long HAProxy may take to accept a connection. How long a replica may be silent is HAProxy's to bound."""

DROPPED = frozenset(
    {
        "connection",
        "content-length",  # written anew, from the body
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that are for one connection only."""


class ForwardError(Exception):
    """No answer, or only a part of one, came by the inner socket; the message says what was tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it arrived, its body complete."""

    method: str
    path: str
    """With the query, as the client wrote it."""
    headers: tuple[tuple[str, str], ...]
    """Names in lower case."""
    body: bytes

    def header(self, name: str) -> str:
        """Return the first value of a header, empty if there is none."""
        return next((value for key, value in self.headers if key == name), "")


class Answer:
    """A replica's answer, of which the head has come."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    @property
    def status(self) -> int:
        """HTTP status."""
        return self._response.status

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Headers without those for one connection only, names in lower case."""
        return kept_headers(self._response.headers.items())

    def header(self, name: str) -> str:
        """Return the first value of a header, empty if there is none."""
        return self._response.headers.get(name, "")

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises ForwardError where it breaks off."""
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise ForwardError(f"the answer broke off: {error!r}") from error


class Forwarder:
    """HAProxy's inner socket. An asynchronous context manager: leaving it closes the connections."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(self._socket), limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            # The body's bytes are passed on as they are, and nothing is added to what the client sent.
            auto_decompress=False,
            skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    @asynccontextmanager
    async def send(self, request: Request, *, tries: int = TRIES) -> AsyncIterator[Answer]:
        """Give the answer to a request; leaving the context early drops it, and the replica stops.

        A request is sent again after a failed connection and after the statuses of `SEND_AGAIN`, all of which come
        before any byte of an answer; HAProxy leaves that to who has the body. The last try's answer is given as it is.
        Raises ForwardError.
        """
        response = await self._send(request, tries)
        try:
            yield Answer(response)
        finally:
            # The connection of a complete answer is back in the pool already; any other is of no more use.
            response.close()

    async def _send(self, request: Request, tries: int) -> aiohttp.ClientResponse:
        for attempt in range(1, tries + 1):
            try:
                response = await self._session.request(
                    request.method,
                    URL(f"http://inner{request.path}", encoded=True),
                    headers=CIMultiDict(kept_headers(request.headers)),
                    data=request.body or None,
                    allow_redirects=False,
                )
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if attempt == tries:
                    raise ForwardError(
                        f"no answer by {self._socket} in {tries} tries, the last: {error!r}; is HAProxy running?"
                    ) from error
            else:
                if response.status not in SEND_AGAIN or attempt == tries:
                    return response
                response.close()
            await asyncio.sleep((attempt - 1) * PAUSE_SECONDS)
        raise AssertionError("at least one try is made")


def kept_headers(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return the headers that are passed on, names in lower case."""
    lower = ((name.lower(), value) for name, value in headers)
    return tuple((name, value) for name, value in lower if name not in DROPPED)
