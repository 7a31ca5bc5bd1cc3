"""Cuts requests that are on their way through the middleware, and has what their clients got."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gptoss_runtime.server.asgi import BODY, START, App, Message, Receive, Scope, Send
from gptoss_runtime.server.books import CUT_PATH, IN_FLIGHT_PATH
from gptoss_runtime.server.middleware import Middleware
from tests.runtime.harness import PATIENCE_SECONDS


TOKEN = "0123456789abcdef"
CHAT = "/v1/chat/completions"
STREAM = {"type": START, "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
JSON = {"type": START, "status": 200, "headers": [(b"content-type", b"application/json")]}
EVENT = b'data: {"choices":[]}\n\n'


def body(data: bytes, *, more: bool = True) -> Message:
    return {"type": BODY, "body": data, "more_body": more}


@dataclass
class Client:
    """One connection, as uvicorn serves it: once the answer is complete, the application hears that the client left."""

    got: list[Message] = field(default_factory=list)
    complete: asyncio.Event = field(default_factory=asyncio.Event)
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    """Unset while the client takes nothing, and sending waits."""
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        self.reads.set()

    async def receive(self) -> Message:
        await self.complete.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        if self.complete.is_set():
            raise RuntimeError("the response is complete")
        self.got.append(message)
        if message["type"] == BODY and not message["more_body"]:
            self.complete.set()
        async with self.news:
            self.news.notify_all()

    async def has(self, messages: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), self.news:
            await self.news.wait_for(lambda: len(self.got) >= messages)


async def ask(middleware: Middleware, path: str, client: Client | None = None, method: str = "POST") -> Client:
    client = client or Client()
    scope = {"type": "http", "method": method, "path": path, "client": ("127.0.83.2", 1), "headers": []}
    await middleware(scope, client.receive, client.send)
    return client


async def document(middleware: Middleware, path: str, method: str = "POST") -> object:
    head, answer = (await ask(middleware, path, method=method)).got
    assert head["status"] == 200
    return json.loads(answer["body"])


async def nobody_is_in_flight(middleware: Middleware) -> bool:
    told = await document(middleware, IN_FLIGHT_PATH, "GET")
    return isinstance(told, dict) and told["in_flight"] == {}


@dataclass
class Run:
    """A request that is on its way through the middleware."""

    client: Client
    task: asyncio.Task[Client]

    async def ended(self) -> list[Message]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return (await self.task).got


async def begin(middleware: Middleware, path: str = CHAT, *, messages: int) -> Run:
    client = Client()
    run = Run(client, asyncio.create_task(ask(middleware, path, client)))
    if messages:
        await client.has(messages)
    else:
        await asyncio.sleep(0)
    return run


async def cut(middleware: Middleware) -> object:
    return await document(middleware, f"{CUT_PATH}/{TOKEN}")


def until_the_client_leaves(*messages: Message, then: Callable[[Send], Awaitable[None]] | None = None) -> App:
    """Send these, and wait for the disconnect as vLLM's handlers do."""

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        assert (await receive())["type"] == "http.disconnect"
        if then:
            await then(send)

    return app


def is_refusal(messages: list[Message]) -> bool:
    head, answer = messages
    error = json.loads(answer["body"])["error"]
    headers = dict(head["headers"])
    assert headers[b"content-length"] == str(len(answer["body"])).encode()
    assert (headers[b"content-type"], headers[b"retry-after"]) == (b"application/json", b"5")
    assert not answer["more_body"]
    return head["status"] == 503 and (error["type"], error["code"]) == ("server_error", "replica_leaving")
