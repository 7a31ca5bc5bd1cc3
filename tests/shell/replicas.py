"""Replicas that tests of asking speak for: real HTTP servers on loopback addresses."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from aiohttp import web

from e2e.ports import free_ports
from gptoss_operator.shell.ask import Line, decoded
from gptoss_operator.shell.samples import ScrapeFailed
from gptoss_operator.shell.store import Key
from gptoss_runtime.contract import (
    Check,
    CheckResult,
    Gauge,
    Notice,
    NoticeKind,
    Phase,
    ReplicaState,
    Verdict,
)


CHAT = Key("demo", "chat")
READY = ReplicaState(
    start_id="a",
    sequence=1,
    phase=Phase.READY,
    verdict=Verdict(ready=True, live=True, reason="vLLM is up"),
    uptime_seconds=12,
    counters={"engine_steps": 4.0},
    gauges={Gauge.REQUESTS_RUNNING: 1.0},
    startup={Phase.LOADING: 3.5},
    checks={Check.MODEL_LOADED: CheckResult(ok=None, detail="not asked yet")},
    notice=Notice(kind=NoticeKind.TERMINATION, source="AWS spot/instance-action", deadline=1800000000.0),
)
INTERVAL_SECONDS = 0.3
WAIT_SECONDS = 20

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Replica:
    """Says `state` with a new sequence number each time; `asked` counts the questions."""

    def __init__(self, state: ReplicaState = READY) -> None:
        self.state = state
        self.asked = 0
        self.transports: list[Any] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        if request.transport not in self.transports:
            assert request.transport is not None
            self.transports.append(request.transport)
        self.state = replace(self.state, sequence=self.state.sequence + 1)
        return web.Response(text=self.state.encode())

    @asynccontextmanager
    async def serve(self, address: str, port: int) -> AsyncIterator[None]:
        async with served(self.answer, address, port):
            yield


@asynccontextmanager
async def served(handler: Handler, address: str, port: int) -> AsyncIterator[None]:
    application = web.Application()
    application.router.add_get("/state", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
        yield
    finally:
        await runner.cleanup()


async def asked(handler: Handler, address: str = "127.0.0.11") -> ReplicaState | ScrapeFailed:
    port = free_ports(1)[0]
    line = Line(address, port, decoded)
    async with served(handler, address, port):
        answer = await line.ask()
        line.close()
        return answer


def failed(answer: ReplicaState | ScrapeFailed) -> ScrapeFailed:
    assert isinstance(answer, ScrapeFailed)
    return answer
