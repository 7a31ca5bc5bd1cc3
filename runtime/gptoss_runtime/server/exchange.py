"""One request to vLLM's API and the answer to it, as the client sees it. Standard library only."""

import asyncio
from contextlib import suppress
from typing import Final

from gptoss_runtime.gateway_contract import ANONYMOUS, Header, Usage
from gptoss_runtime.openai_errors import error_event, error_json
from gptoss_runtime.server.asgi import (
    BODY,
    DISCONNECT,
    START,
    UNAVAILABLE,
    Message,
    Receive,
    Scope,
    Send,
    answer,
    header_of,
    is_stream,
)
from gptoss_runtime.server.books import Books
from gptoss_runtime.server.usage import least_tokens, tokens_of
from gptoss_runtime.server.withhold import ENGINE_LOST, FAILED, error_of


FAREWELL_SECONDS: Final = 1.0
"""How long the error at the end of a broken stream may take; a client that reads nothing does not get it."""
RETRY_AFTER_SECONDS: Final = 5
"""What a client is told that no gateway sent elsewhere; the gateway's own 503 says the same."""

LOST_EVENT: Final = error_event(
    error_json(
        "server_error",
        "replica_lost",
        "The replica that was answering has failed. What was sent so far is incomplete; send the request again.",
    ).encode()
)
"""Last event of a stream that vLLM could not bring to its end. OpenAI's clients raise it as an APIError, whichever
API it was. vLLM 0.32 sends an error of its own in chats and completions, and none in the Responses API."""

_ERROR_EVENT: Final = b'data: {"error"'
"""How vLLM 0.32 begins the event of an error in a stream that has begun."""

LEAVING: Final = "replica_leaving"
"""The error's code when a request is cut off because the replica leaves."""
LEAVING_EVENT: Final = error_event(
    error_json(
        "server_error", LEAVING, "The replica had to leave before the answer was complete. Send the request again."
    ).encode()
)
"""Last event of a stream that was cut off."""
_LEAVING_BODY: Final = error_json(
    "server_error", LEAVING, "The replica leaves and did not answer this request. Send it again."
).encode()


class Exchange:
    """A request that has come. `receive` and `send` are what the application hears and answers through."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, books: Books) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._books = books
        self._address = (scope.get("client") or ("",))[0]
        self._status: int | None = None
        self._streams = False
        self._events = 0
        self._last = b""
        self._open = True
        self._failed = False
        """Whether the answer failed, as far as its status does not say it."""
        self._client_left = False
        self._task = asyncio.current_task()
        self.was_cut = False
        """Whether it was ended from outside. What the application does afterwards reaches nobody."""
        books.begin(self._address)

    @property
    def streams(self) -> bool:
        """Whether the head of a stream has been sent."""
        return self._streams

    async def receive(self) -> Message:
        """Return the client's next message."""
        message = await self._receive()
        if message["type"] == DISCONNECT:
            self._client_left = True
        return message

    async def send(self, message: Message) -> None:
        """Pass the next message on, and keep count."""
        try:
            await self._send(message)
        except OSError:
            self._client_left = True
            raise
        if message["type"] == BODY:
            body = message.get("body")
            if body:
                self._last = body
                self._events += 1
                if self._status == UNAVAILABLE or body.startswith(_ERROR_EVENT):
                    self._note_error(body)
            if not message.get("more_body", False):
                self.close()
        elif message["type"] == START:
            self._status = message["status"]
            self._streams = is_stream(message)

    def note_failure(self) -> None:
        """Take note that the application broke off, unless it did so because its client is gone."""
        if not self._client_left:
            self._failed = True

    def _note_error(self, body: bytes) -> None:
        if self._status == UNAVAILABLE:
            # Of a full queue otherwise, which is no fault.
            self._failed = ENGINE_LOST in body
            return
        error = error_of(body)
        self._failed = error is None or error[0] >= FAILED

    async def break_off(self) -> None:
        """Say in a stream that it ends too early. Before its head, the server can still answer with an error."""
        if not self._streams or not self._open:
            return
        # What went wrong in the first place is what the log should say.
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._end_stream(self._send, LOST_EVENT)

    async def cut_off(self) -> None:
        """End the answer now: a stream with an error, and what has not begun with a 503.

        The server then tells the application that the client is gone, upon which vLLM frees the request's place. May
        take as long as the client does not read.
        """
        send, self._send, self.was_cut = self._send, _drop, True
        if not self._open:
            return
        if self._streams:
            await self._end_stream(send, LEAVING_EVENT)
        elif self._status is None:
            await refuse(send)
        self.close()

    def cancel(self) -> None:
        """End the application's side, if it still goes on."""
        if self._task is not None:
            self._task.cancel()

    async def _end_stream(self, send: Send, event: bytes) -> None:
        gap = b"" if self._last.endswith(b"\n\n") else b"\n\n"
        await send({"type": BODY, "body": gap + event, "more_body": False})

    def close(self) -> None:
        """Count the request as over. Only the first time counts."""
        if not self._open:
            return
        self._open = False
        self._books.end(self._address)
        if self._scope.get("method") == "POST":
            bad = self._status is not None and self._status >= FAILED and self._status != UNAVAILABLE
            self._books.count_answer(failed=not self.was_cut and (self._failed or bad))
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


async def refuse(send: Send) -> None:
    """Answer that the replica leaves. A gateway sends the request elsewhere then."""
    headers = [(b"retry-after", str(RETRY_AFTER_SECONDS).encode())]
    await answer(send, _LEAVING_BODY, status=UNAVAILABLE, headers=headers)


async def _drop(_: Message) -> None:
    """Send nothing: the answer is complete."""
