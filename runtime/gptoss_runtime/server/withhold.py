"""The response head of a stream waits for its first token.

uvicorn sends the head of a stream as soon as the handler returns, long before the model has computed anything. With the
head withheld, the gateway measures the time to the first token, may send the request elsewhere while it is still queued
or in prefill, and sees a refusal that vLLM wrapped into a stream as the HTTP error that it is.

Standard library only, since it is imported by vLLM's process.
"""

import json
import re

from gptoss_runtime.server.asgi import UNAVAILABLE, App, Message, Receive, Scope, Send, answer, is_stream


FAILED = 500
MAX_WITHHELD_BYTES = 64 * 1024
"""More than this is never held back, whatever it is."""

ENGINE_LOST = b"EngineCore encountered an issue"
"""How vLLM 0.32 words the 500 of a request whose engine died (EngineDeadError). The request may be sent elsewhere."""

_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_ANNOUNCEMENTS = (b"response.created", b"response.queued", b"response.in_progress")
"""First events of the Responses API, sent on arrival: they say that a request came, not that an answer begins."""
_HEADERS_OF_THE_STREAM = (b"content-type", b"content-length", b"transfer-encoding")


class WithholdHead:
    """Withholds the head of a `text/event-stream` answer until its first event with content.

    A first event `data: {"error": {"code": 4xx or 5xx, ...}}` becomes an answer of that status with the error as JSON.
    A 500 that says that the engine is lost becomes a 503, which gateways retry elsewhere.
    Everything else passes unchanged and at once: other content types, other statuses, websockets, lifespan, whatever
    comes after the first event, and what the client says (`receive`).
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or whatever else `scope` stands for."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Withheld(send)
        await self._app(scope, receive, answer.send)
        # Not after an exception: a head that was never sent leaves room for a real 500.
        await answer.release()


class _Withheld:
    """The sending side of one HTTP answer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._head: Message | None = None
        self._held = b""
        self._replaced = False

    async def send(self, message: Message) -> None:
        """Take the application's next message: pass it on, hold it, or answer in its place."""
        if self._replaced:
            # The answer is complete. The rest of the stream it replaced (`data: [DONE]`) has nowhere to go.
            return
        if message["type"] == "http.response.start" and (message["status"] == FAILED or is_stream(message)):
            self._head = message
        elif self._head is None:
            await self._send(message)
        elif message["type"] == "http.response.body":
            await self._decide(message)
        else:
            await self.release()
            await self._send(message)

    async def _decide(self, message: Message) -> None:
        self._held += message.get("body", b"")
        if self._head is not None and self._head["status"] == FAILED:
            await self._decide_failure(message)
            return
        more = message.get("more_body", False)
        content = _first_content(self._held)
        if content is None and more and len(self._held) <= MAX_WITHHELD_BYTES:
            return
        error = error_of(content or self._held)
        if error is not None:
            await self._answer_with(*error)
            return
        # Head and body go out as they would have: only later, and with what was held in front.
        message = {**message, "body": self._held}
        self._held = b""
        await self.release()
        await self._send(message)

    async def _decide_failure(self, message: Message) -> None:
        if ENGINE_LOST in self._held:
            await self._answer_with(UNAVAILABLE, self._held)
            return
        self._held = b""
        await self.release()
        await self._send(message)

    async def release(self) -> None:
        """Send what is held, if anything is."""
        head, self._head = self._head, None
        if head is not None:
            await self._send(head)
        if self._held:
            held, self._held = self._held, b""
            await self._send({"type": "http.response.body", "body": held, "more_body": True})

    async def _answer_with(self, status: int, body: bytes) -> None:
        head, self._head, self._held, self._replaced = self._head or {}, None, b"", True
        kept = [(name, value) for name, value in head.get("headers", ()) if name.lower() not in _HEADERS_OF_THE_STREAM]
        await answer(self._send, body, status=status, headers=kept)


def _first_content(held: bytes) -> bytes | None:
    """Return the first complete event that is no announcement; None when there is none yet."""
    position = 0
    while match := _EVENT_END.search(held, position):
        event = held[position : match.start()]
        if event.strip() and not _is_announcement(event):
            return event
        position = match.end()
    return None


def _is_announcement(event: bytes) -> bool:
    first_line = event.lstrip().splitlines()[0]
    return first_line.startswith(b"event:") and first_line[6:].strip() in _ANNOUNCEMENTS


def error_of(event: bytes) -> tuple[int, bytes] | None:
    """Return status and JSON body of the error that `event` carries; None when it carries none."""
    if b'"error"' not in event:
        return None
    data = b"\n".join(line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:"))
    try:
        document = json.loads(data)
    except ValueError:
        return None
    error = document.get("error") if isinstance(document, dict) else None
    status = error.get("code") if isinstance(error, dict) else None
    if not isinstance(status, int) or not 400 <= status <= 599:  # noqa: PLR2004 - the range of HTTP's errors
        return None
    body = json.dumps({"error": error}, ensure_ascii=False).encode()
    return (UNAVAILABLE if status == FAILED and ENGINE_LOST in body else status), body
