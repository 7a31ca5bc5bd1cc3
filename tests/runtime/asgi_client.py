"""Asks the middleware without a server: what an application says through it, and what a client gets."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

from gptoss_runtime.server.asgi import BODY, START, App, Message, Receive, Scope, Send
from gptoss_runtime.server.books import IN_FLIGHT_PATH
from gptoss_runtime.server.middleware import Middleware


GATEWAY = "127.0.83.1"
"""Address of a gateway that nobody else on this machine has."""
STREAM = {"type": START, "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
JSON = {"type": START, "status": 200, "headers": [(b"content-type", b"application/json")]}
EVENT = b'data: {"choices":[]}\n\n'


def body(data: bytes, *, more: bool = True) -> Message:
    return {"type": BODY, "body": data, "more_body": more}


def a_scope(path: str = "/v1/chat/completions", client: str = GATEWAY, **headers: str) -> Scope:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "POST", "path": path, "client": (client, 5000), "headers": pairs}


def leave_usage(scope: Scope, prompt: object, generation: object) -> None:
    """Do what vLLM does in the request's state."""
    usage = SimpleNamespace(prompt_tokens=prompt, completion_tokens=generation)
    scope["state"]["request_metadata"] = SimpleNamespace(final_usage_info=usage)


async def ask(middleware: Middleware, scope: Scope) -> list[Message]:
    """Return what the client gets."""
    got: list[Message] = []

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        got.append(message)

    await middleware(scope, receive, send)
    return got


async def look(middleware: Middleware, path: str) -> dict[str, Any]:
    head, answer = await ask(middleware, a_scope(path))
    assert head["status"] == 200
    document: dict[str, Any] = json.loads(answer["body"])
    return document


async def in_flight(middleware: Middleware) -> dict[str, int]:
    counts: dict[str, int] = (await look(middleware, IN_FLIGHT_PATH))["in_flight"]
    return counts


def saying(*messages: Message, usage: tuple[object, object] | None = None) -> App:
    async def app(scope: Scope, _: Receive, send: Send) -> None:
        for message in messages:
            if usage and not message.get("more_body", True):
                leave_usage(scope, *usage)
            await send(message)

    return app


class BrokenError(Exception):
    pass


async def what_is_left(*messages: Message, error: BaseException) -> tuple[list[Message], BaseException | None]:
    """Return what a client gets, and what the server gets, when the application breaks off."""
    got: list[Message] = []

    async def send(message: Message) -> None:
        got.append(message)

    async def app(_: Scope, __: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        raise error

    async def receive() -> Message:
        raise AssertionError

    middleware = Middleware(app)
    try:
        await middleware(a_scope(), receive, send)
    except (BrokenError, asyncio.CancelledError) as raised:
        assert await in_flight(middleware) == {}
        return got, raised
    return got, None
