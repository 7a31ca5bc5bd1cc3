"""A server that answers lists and watches as it is told to: for what a real API server cannot be made to do on time.

It checks nothing and decides nothing. What depends on how an API server behaves is tested on a real one.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from gptoss_operator.shell.kube import Kube


HANG = "hang"
"""In a script: keep the connection open and send nothing."""


@dataclass
class Answer:
    """One answer. `lines` are sent one by one, as a watch does."""

    status: int = 200
    body: Any = None
    lines: list[Any] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)


class FakeApi:
    """Gives its answers in order, to whatever is asked; when they are used up, it hangs."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.accepted: list[str] = []
        """The Accept header of each question."""
        self.used_up = asyncio.Event()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Kube]:
        """Run the server; yield a connection to it."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        server = TestServer(application)
        await server.start_server()
        kube = Kube(ApiClient(Configuration(host=str(server.make_url("")).rstrip("/"))))
        try:
            yield kube
        finally:
            await kube.close()
            await server.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        self.accepted.append(request.headers["Accept"])
        self.asked.append((request.method, request.path, dict(request.query), json.loads(text) if text else None))
        if not self.answers:
            self.used_up.set()
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if answer.body is not None or answer.status != web.HTTPOk.status_code:
            return web.json_response(answer.body, status=answer.status, headers=answer.headers)
        stream = web.StreamResponse()
        await stream.prepare(request)
        for line in answer.lines:
            if line == HANG:
                await asyncio.Event().wait()
            await stream.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
        return stream


def a_page(version: int, *items: Any, next_page: str = "") -> Answer:  # noqa: ANN401  (raw objects)
    return Answer(body={"metadata": {"resourceVersion": str(version), "continue": next_page}, "items": list(items)})


def an_event(type_: str, obj: Any) -> dict[str, Any]:  # noqa: ANN401  (a raw object)
    return {"type": type_, "object": obj}


def a_bookmark(version: int) -> dict[str, Any]:
    return an_event("BOOKMARK", {"kind": "Service", "metadata": {"resourceVersion": str(version)}})


def a_failure(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "status": "Failure", "code": code, "message": message}
