"""ASGI middleware that runs inside vLLM: `--middleware gptoss_runtime.server.middleware.Middleware`.

It withholds the head of a stream until its first token (`withhold`), counts requests by gateway and tokens by tenant,
reports a request's tokens to the gateway that it came from, and ends a stream that breaks off with an error that
clients understand. On a token's way it does no more than to remember the last part and to count.

Standard library only, since it is imported by vLLM's process.
"""

import asyncio
import json
from contextlib import suppress
from typing import Final

from gptoss_runtime.gateway_contract import ANONYMOUS, Header, Usage
from gptoss_runtime.server.asgi import BODY, START, App, Message, Receive, Scope, Send, header_of, is_stream
from gptoss_runtime.server.books import IN_FLIGHT_PATH, TOKENS_PATH, Books
from gptoss_runtime.server.usage import least_tokens, tokens_of
from gptoss_runtime.server.withhold import WithholdHead


API: Final = "/v1/"
"""How the paths begin whose requests are counted."""
FAREWELL_SECONDS: Final = 1.0
"""How long the error at the end of a broken stream may take; a client that reads nothing does not get it."""

_LOST: Final = {
    "message": "The replica that was answering has failed. What was sent so far is incomplete; send the request again.",
    "type": "server_error",
    "param": None,
    "code": "replica_lost",
}
LOST_EVENT: Final = b"data: " + json.dumps({"error": _LOST}).encode() + b"\n\n"
"""Last event of a stream that vLLM could not bring to its end. OpenAI's clients raise it as an APIError, whichever
API it was. vLLM 0.32 sends an error of its own in chats and completions, and none in the Responses API."""


class Middleware:
    """What vLLM is started with. One for the life of the process."""

    def __init__(self, app: App) -> None:
        self._app = WithholdHead(app)
        self._books = Books()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or whatever else `scope` stands for."""
        path = scope.get("path", "")
        if scope["type"] == "http" and path.startswith(API):
            await self._watch(scope, receive, send)
        elif scope["type"] == "http" and path == IN_FLIGHT_PATH:
            await _answer(send, {"in_flight": self._books.in_flight})
        elif scope["type"] == "http" and path == TOKENS_PATH:
            await _answer(send, self._books.totals())
        else:
            await self._app(scope, receive, send)

    async def _watch(self, scope: Scope, receive: Receive, send: Send) -> None:
        # vLLM leaves the count of tokens here; it must be the same dict that we look into.
        scope.setdefault("state", {})
        exchange = _Exchange(scope, send, self._books)
        try:
            await self._app(scope, receive, exchange.send)
        except (Exception, asyncio.CancelledError):
            # Cancelled is what still runs when vLLM's time to stop is over; a client that hung up shows otherwise.
            await exchange.break_off()
            raise
        finally:
            exchange.close()


class _Exchange:
    """One request and the answer to it, as the client sees it."""

    def __init__(self, scope: Scope, send: Send, books: Books) -> None:
        self._scope = scope
        self._send = send
        self._books = books
        self._address = (scope.get("client") or ("",))[0]
        self._streams = False
        self._events = 0
        self._last = b""
        self._open = True
        books.begin(self._address)

    async def send(self, message: Message) -> None:
        """Pass the next message on, and keep count."""
        await self._send(message)
        if message["type"] == BODY:
            body = message.get("body")
            if body:
                self._last = body
                self._events += 1
            if not message.get("more_body", False):
                self.close()
        elif message["type"] == START:
            self._streams = is_stream(message)

    async def break_off(self) -> None:
        """Say in a stream that it ends too early. Before its head, the server can still answer with an error."""
        if not self._streams or not self._open:
            return
        gap = b"" if self._last.endswith(b"\n\n") else b"\n\n"
        # What went wrong in the first place is what the log should say.
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._send({"type": BODY, "body": gap + LOST_EVENT, "more_body": False})

    def close(self) -> None:
        """Count the request as over. Only the first time counts."""
        if not self._open:
            return
        self._open = False
        self._books.end(self._address)
        tokens = tokens_of(self._scope, self._last)
        if tokens is None and self._streams and self._events:
            tokens = least_tokens(header_of(self._scope, "content-length"), self._events)
        if tokens is None:
            return
        tenant = header_of(self._scope, Header.TENANT)
        self._books.spend(tenant or ANONYMOUS, tokens)
        if tenant and self._address:
            name = header_of(self._scope, Header.REQUEST_ID)
            usage = Usage(id=name, tenant=tenant, prompt_tokens=tokens.prompt, generation_tokens=tokens.generation)
            self._books.report(self._address, usage)


async def _answer(send: Send, document: object) -> None:
    body = json.dumps(document, separators=(",", ":")).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": START, "status": 200, "headers": headers})
    await send({"type": BODY, "body": body, "more_body": False})
