"""ASGI's types, and the little that both parts of the middleware ask of a message. Standard library only.

Specification: https://asgi.readthedocs.io/en/stable/specs/www.html
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any


Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

START = "http.response.start"
BODY = "http.response.body"
DISCONNECT = "http.disconnect"
UNAVAILABLE = 503
JSON_TYPE = b"application/json"


def is_stream(head: Message) -> bool:
    """Return whether `head` begins a stream of server-sent events."""
    if head["status"] != 200:  # noqa: PLR2004 - HTTP's number for OK
        return False
    types = [value for name, value in head.get("headers", ()) if name.lower() == b"content-type"]
    return any(value.strip().lower().startswith(b"text/event-stream") for value in types)


def header_of(scope: Scope, name: str) -> str:
    """Return the value of the request header `name`, which is in lower case; empty where it is absent."""
    wanted = name.encode()
    return next((value.decode("latin-1") for key, value in scope.get("headers", ()) if key == wanted), "")


async def answer(
    send: Send,
    body: bytes,
    *,
    status: int = 200,
    kind: bytes = JSON_TYPE,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Send a whole answer. `headers` are those beside its type and its length."""
    own = ((b"content-type", kind), (b"content-length", str(len(body)).encode()))
    await send({"type": START, "status": status, "headers": [*headers, *own]})
    await send({"type": BODY, "body": body, "more_body": False})
