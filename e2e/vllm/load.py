"""Clients of a server that runs in the room, and looks at its verdict, on one event loop."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import aiohttp

from e2e.vllm.replica import HOST, MODEL_NAME, Replica
from gptoss_runtime.contract import ReplicaState


REQUEST_SECONDS = 300.0
PROMPT = "Hello"
LOOK_EVERY_SECONDS = 0.02
LOOK_SECONDS = 1.0
"""Bound of one look."""


class End(StrEnum):
    """How a request ended."""

    DONE = "Done"
    """With `[DONE]`, or with a whole answer."""
    ERROR = "Error"
    """With an error event in its stream."""
    REFUSED = "Refused"
    """With another status than 200."""
    CUT = "Cut"
    """Without any of these: the connection closed or broke, or the client had waited long enough."""


@dataclass(slots=True)
class Request:
    """What became of one request. Times are those of time.monotonic()."""

    tokens: int
    """Asked for; a request that is done has had them all."""
    sent: float = 0.0
    first: float | None = None
    """When the first token came."""
    ended: float | None = None
    """None while it runs."""
    end: End = End.CUT
    status: int = 0
    """HTTP status; 0 when none came."""
    error: str = ""
    """What the server said instead of the answer, or the exception."""
    events: int = 0
    """Of a stream, with text."""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at the first token, and at the end."""


class Clients:
    """Requests to one server. Made by `clients`."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._url = f"http://{HOST}:{port}/v1/completions"
        self._running: set[asyncio.Task[None]] = set()

    def begin(self, tokens: int, *, stream: bool = True) -> Request:
        """Begin a request for so many tokens, and return it at once."""
        request = Request(tokens=tokens)
        task = asyncio.create_task(self._carry(request, PROMPT, stream=stream))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return request

    async def streams(self, count: int, tokens: int) -> list[Request]:
        """Begin streams and return them when each has had a token, or has ended."""
        begun = [self.begin(tokens) for _ in range(count)]
        await asyncio.gather(*(request.begun.wait() for request in begun))
        return begun

    async def one(self, tokens: int, *, prompt: str = PROMPT) -> Request:
        """Return a stream that has ended."""
        request = Request(tokens=tokens)
        await self._carry(request, prompt, stream=True)
        return request

    async def all_ended(self) -> None:
        """Wait until no request runs."""
        while self._running:
            await asyncio.wait(self._running)

    def cancel(self) -> None:
        """Hang up on all that runs."""
        for task in self._running:
            task.cancel()

    async def _carry(self, request: Request, prompt: str, *, stream: bool) -> None:
        body = {
            "model": MODEL_NAME,
            "prompt": prompt,
            "max_tokens": request.tokens,
            "min_tokens": request.tokens,
            "stream": stream,
        }
        request.sent = time.monotonic()
        try:
            async with self._session.post(self._url, json=body) as response:
                request.status = response.status
                if response.status != 200:
                    request.end, request.error = End.REFUSED, await response.text()
                elif stream:
                    await _read(response, request)
                else:
                    request.error = "" if await response.json() else "empty"
                    request.end = End.DONE
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            request.error = request.error or repr(error)
        finally:
            request.ended = time.monotonic()
            request.begun.set()


async def _read(response: aiohttp.ClientResponse, request: Request) -> None:
    async for line in response.content:
        if not line.startswith(b"data: "):
            continue
        if line.startswith(b"data: [DONE]"):
            request.end = End.ERROR if request.error else End.DONE
            return
        event = json.loads(line.removeprefix(b"data: "))
        if "error" in event:
            request.end, request.error = End.ERROR, json.dumps(event["error"])
        elif event["choices"] and event["choices"][0]["text"]:
            request.events += 1
            if request.first is None:
                request.first = time.monotonic()
                request.begun.set()


@asynccontextmanager
async def clients(port: int) -> AsyncIterator[Clients]:
    """Return clients of a server; afterwards all have hung up."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session:
        made = Clients(session, port)
        try:
            yield made
        finally:
            made.cancel()
            await made.all_ended()


@dataclass(frozen=True, slots=True)
class Look:
    """What the replica said of itself at one time."""

    at: float
    """When the answer was there, by time.monotonic()."""
    status: int
    """Of `/readyz`; 0 when nobody answered."""
    agent: str
    """Line of the agent; empty when nobody answered."""

    @property
    def in_turn(self) -> bool:
        """Whether both said that the replica takes requests."""
        return self.status == 200 and self.agent.startswith("up")

    @property
    def out(self) -> bool:
        """Whether neither said so."""
        return self.status != 200 and not self.agent.startswith("up")


class Watcher:
    """Looks at a replica as kubelet and HAProxy do, but more often, until the replica is gone."""

    def __init__(self, replica: Replica, session: aiohttp.ClientSession, every_seconds: float) -> None:
        self._replica = replica
        self._session = session
        self._every_seconds = every_seconds
        self._last = Look(0.0, 0, "")
        self._changed = asyncio.Condition()
        self.looks = 0
        self.alarms = 0
        """Looks at which either said that the replica takes no requests."""
        self.silences = 0
        """Looks at which either did not answer."""

    async def run(self) -> None:
        """Look without end."""
        while True:
            began = time.monotonic()
            status, agent = await asyncio.gather(self._ready(), self._agent())
            async with self._changed:
                self._last = Look(time.monotonic(), status, agent)
                self._changed.notify_all()
            self.looks += 1
            self.alarms += status not in {0, 200} or agent.startswith("drain")
            self.silences += not status or not agent
            await asyncio.sleep(max(0.0, began + self._every_seconds - time.monotonic()))

    async def out(self, *, seconds: float) -> float:
        """Return when the replica said on both ports that it takes no requests. Raises TimeoutError."""
        return await self._until(lambda look: look.out, seconds)

    async def back(self, *, seconds: float) -> float:
        """Return when the replica said on both ports that it takes requests. Raises TimeoutError."""
        return await self._until(lambda look: look.in_turn, seconds)

    async def state(self) -> ReplicaState:
        """Return what the replica says of itself now. Raises ContractError, or aiohttp's errors."""
        async with self._session.get(f"http://{HOST}:{self._replica.health_port}/state") as response:
            return ReplicaState.decode(await response.text())

    async def _until(self, holds: Callable[[Look], bool], seconds: float) -> float:
        asked = time.monotonic()
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: self._last.at > asked and holds(self._last))
            return self._last.at

    async def _ready(self) -> int:
        try:
            async with self._session.get(f"http://{HOST}:{self._replica.health_port}/readyz") as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError):
            return 0

    async def _agent(self) -> str:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                reader, writer = await asyncio.open_connection(HOST, self._replica.agent_port)
                try:
                    return (await reader.read()).decode()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return ""


@asynccontextmanager
async def watched(replica: Replica, *, every_seconds: float = LOOK_EVERY_SECONDS) -> AsyncIterator[Watcher]:
    """Watch a replica meanwhile."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LOOK_SECONDS), trust_env=False) as session:
        watcher = Watcher(replica, session, every_seconds)
        running = asyncio.create_task(watcher.run())
        try:
            yield watcher
        finally:
            running.cancel()
            await asyncio.wait([running])


async def ended(server: Replica, *, seconds: float) -> float:
    """Return when the server's first process was gone. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while server.program.exit_status is None:  # noqa: ASYNC110 - nobody tells us when another loop's child ends
            await asyncio.sleep(LOOK_EVERY_SECONDS)
    return time.monotonic()
