"""A real HAProxy, the real activator as a process, and replicas that can be started and killed at will."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from e2e.gateway.program import haproxy_command
from e2e.ports import free_ports
from gptoss_runtime.activator.haproxy.runtime_api import RuntimeApi, RuntimeApiError
from gptoss_runtime.contract import Gauge, Phase, ReplicaState, Verdict
from gptoss_runtime.gateway_contract import GatewayOrders, Socket


PATIENCE_SECONDS = 30.0
HOSTS = ("127.0.41.11", "127.0.41.12")
EVENTS = [f'data: {{"n":{number}}}\n\n' for number in range(3)]

CONFIG = """\
global
  stats socket {run}/haproxy.sock mode 600 level admin
  set-var proc.leaving bool(false)
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  timeout queue 10s
  retries 4
  option redispatch 1
  option abortonclose
frontend door
  bind 127.0.0.1:{port}
  option http-buffer-request
  unique-id-format %[uuid()]
  http-request set-header x-request-id %[unique-id]
  http-after-response set-header connection close if {{ var(proc.leaving) -m bool }}
  default_backend replicas
frontend inner
  bind unix@{run}/inner.sock mode 600
  http-request disable-l7-retry
  default_backend replicas
backend replicas
  retry-on conn-failure empty-response 503
  server replica1 127.0.41.11:{openai_port} {checks}
  server replica2 127.0.41.12:{openai_port} {checks}
  server activator unix@{run}/hold.sock backup
"""
CHECKS = "check inter 50ms fall 1 rise 1 weight 100 maxconn 4 observe layer4 error-limit 1 on-error mark-down"


def orders(**changes: object) -> GatewayOrders:
    base: dict[str, object] = {"deployment": "chat", "namespace": "demo", "model_names": ("openai/gpt-oss-20b",)}
    return GatewayOrders(**{**base, "leave_seconds": 0.05, **changes})  # type: ignore[arg-type]


@dataclass
class Replica:
    """One replica; nothing listens at its address until it is told to."""

    host: str
    openai_port: int
    health_port: int
    served: int = 0
    told: dict[Phase, int] = field(default_factory=lambda: dict.fromkeys(Phase, 0))
    """How often it said which phase it is in."""
    lose: int = 0
    """Requests to take and break off, before any is answered."""
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether requests are answered; otherwise they are taken, and wait."""
    runners: list[web.AppRunner] = field(default_factory=list)

    async def loads(self, uptime_seconds: float) -> None:
        """Answer `/state` as one that loads its model."""
        await self._listen(self.health_port, web.get("/state", self._state(Phase.LOADING, uptime_seconds, {})))

    async def starts(self) -> None:
        """Answer requests, and `/state` as one that is ready."""
        self.answers.set()
        await self._close()
        state = self._state(Phase.READY, 31.0, {Gauge.LOAD_SECONDS: 30.0})
        await self._listen(self.health_port, web.get("/state", state))
        await self._listen(self.openai_port, web.post("/v1/chat/completions", self._answer))

    async def dies(self) -> None:
        """Close the port and all connections."""
        await self._close()

    async def _listen(self, port: int, route: web.RouteDef) -> None:
        app = web.Application(client_max_size=2**24)
        app.add_routes([route])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await runner.setup()
        await web.TCPSite(runner, self.host, port, reuse_address=True).start()
        self.runners.append(runner)

    async def _close(self) -> None:
        while self.runners:
            await self.runners.pop().cleanup()

    def _state(
        self, phase: Phase, uptime_seconds: float, gauges: dict[str, float]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        verdict = Verdict(ready=phase is Phase.READY, live=True, reason="as told")
        state = ReplicaState(
            start_id=self.host, sequence=1, phase=phase, verdict=verdict, uptime_seconds=uptime_seconds, gauges=gauges
        )

        async def answer(_: web.Request) -> web.StreamResponse:
            self.told[phase] += 1
            return web.Response(text=state.encode())

        return answer

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if self.lose:
            self.lose -= 1
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        await self.answers.wait()
        self.served += 1
        if not body.get("stream"):
            return web.json_response({"from": self.host, "number": body["number"]})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for event in [*EVENTS, "data: [DONE]\n\n"]:
            await response.write(event.encode())
        return response


@dataclass
class Gateway:
    """HAProxy and the activator."""

    url: str
    session: aiohttp.ClientSession
    activator: asyncio.subprocess.Process
    activator_port: int
    runtime: RuntimeApi
    replicas: list[Replica]

    def post(self, number: int, **changes: object) -> asyncio.Task[tuple[int, str, dict[str, str]]]:
        """Send a request; the task has status, body and headers of its answer."""

        async def ask() -> tuple[int, str, dict[str, str]]:
            body = {"number": number, **changes}
            async with self.session.post(f"{self.url}/v1/chat/completions", json=body) as answer:
                headers = {name.lower(): value for name, value in answer.headers.items()}
                return answer.status, await answer.text(), headers

        return asyncio.create_task(ask())

    async def at_activator(self, count: int) -> None:
        """Wait until as many requests are at the activator."""

        async def there() -> bool:
            text = await self.runtime.ask("show stat replicas 4 -1")
            row = next(line for line in text.splitlines() if line.startswith("replicas,activator,"))
            return int(row.split(",")[4]) == count

        await until(there)

    async def in_queue(self, count: int) -> None:
        """Wait until as many requests are in HAProxy's queue."""

        async def there() -> bool:
            return (await self.runtime.replicas()).backend.queued == count

        await until(there)

    async def sees_up(self, count: int) -> None:
        """Wait until HAProxy takes as many replicas for usable."""

        async def up() -> bool:
            return len((await self.runtime.replicas()).up()) == count

        await until(up)

    async def get(self, path: str) -> tuple[int, str]:
        """Ask the activator's own port."""
        async with self.session.get(f"http://127.0.0.1:{self.activator_port}{path}") as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def gateway(scratch: Path, **changes: object) -> AsyncIterator[Gateway]:
    """Run HAProxy and the activator; afterwards nothing of them is left."""
    port, activator_port, usage_port, openai_port, health_port = free_ports(5)
    replicas = [Replica(host, openai_port, health_port) for host in HOSTS]
    config, order_file = scratch / "haproxy.cfg", scratch / "gateway.json"
    config.write_text(CONFIG.format(run=scratch, port=port, openai_port=openai_port, checks=CHECKS))
    order_file.write_text(orders(**changes).encode())
    environment = {
        **os.environ,
        "GPTOSS_RUN_DIRECTORY": str(scratch),
        "GPTOSS_ACTIVATOR_ADDRESS": "127.0.0.1",
        "GPTOSS_ACTIVATOR_PORT": str(activator_port),
        "GPTOSS_USAGE_PORT": str(usage_port),
        "GPTOSS_REPLICA_HEALTH_PORT": str(health_port),
        "GPTOSS_KEYS_DIRECTORY": str(scratch / "keys"),
        "GPTOSS_TLS_DIRECTORY": str(scratch / "tls"),
    }
    activator = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gptoss_runtime.activator", str(order_file)), env=environment
    )
    haproxy = await asyncio.create_subprocess_exec(*haproxy_command(), "-db", "-f", str(config))
    runtime = RuntimeApi(scratch / Socket.RUNTIME)
    # A held request keeps its connection.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        url = f"http://127.0.0.1:{port}"
        running = Gateway(url, session, activator, activator_port, runtime, replicas)
        try:
            await until(lambda: _answers(running))
            yield running
        finally:
            for process in (haproxy, activator):
                if process.returncode is None:
                    process.send_signal(signal.SIGKILL)
                await process.wait()
            for replica in replicas:
                await replica.dies()


async def _answers(running: Gateway) -> bool:
    try:
        up = (await running.runtime.replicas()).up()
        return not up and (await running.get("/healthz"))[0] == 200
    except (RuntimeApiError, aiohttp.ClientError):
        return False


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so, which cannot tell us by itself."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await holds():  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.02)


def error_code(text: str) -> str:
    """Return the `code` of an OpenAI error."""
    return str(json.loads(text)["error"]["code"])
