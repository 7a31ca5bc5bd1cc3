"""Runs gptoss-server as a real process over the fake vLLM, and waits for what it says."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import aiohttp

from e2e.ports import free_ports
from gptoss_runtime.contract import Phase, ReplicaState
from gptoss_runtime.gateway_contract import Header
from gptoss_runtime.orders import Cloud, ServerOrders


P = ParamSpec("P")

ROOT = Path(__file__).parents[2]
FAKE = "tests.runtime.fake_vllm"
PATIENCE_SECONDS = 30.0
"""Bound of every wait here; a test fails then, with the server's output."""


def an_order(model: str, **changes: object) -> ServerOrders:
    base: dict[str, object] = {
        "model": model,
        "served_names": ("openai/gpt-oss-20b",),
        "max_num_seqs": 4,
        "drain_seconds": 20,
        "endpoint_grace_seconds": 0,
        # The machine that tests run on may be in a cloud itself.
        "cloud": Cloud.OFF,
    }
    return ServerOrders(**{**base, **changes})  # type: ignore[arg-type]


def a_model(parent: Path) -> str:
    directory = parent / "model"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    return str(directory)


@dataclass
class Server:
    """A running gptoss-server."""

    process: asyncio.subprocess.Process
    session: aiohttp.ClientSession
    openai_port: int
    health_port: int
    agent_port: int
    termination_log: Path
    traffic_file: Path
    output: list[str] = field(default_factory=list)

    async def get(self, path: str) -> tuple[int, str]:
        async with self.session.get(f"http://127.0.0.1:{self.health_port}{path}") as response:
            return response.status, await response.text()

    async def state(self) -> ReplicaState:
        return ReplicaState.decode((await self.get("/state"))[1])

    async def agent(self, gateway: str = "127.0.0.1") -> str:
        """Return what a gateway with that address of its own hears."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.agent_port, local_addr=(gateway, 0))
        line = await reader.read()
        writer.close()
        return line.decode()

    async def order(self, order: str) -> str:
        """Tell the fake vLLM what to do."""
        async with self.session.post(f"http://127.0.0.1:{self.openai_port}/fake/{order}") as response:
            return await response.text()

    async def grants(self, gateway: str, requests: int) -> None:
        """Wait until the gateway with that address may have this many requests."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.agent(gateway) != f"up ready 100% maxconn:{requests}\n":  # noqa: ASYNC110 - as HAProxy asks
                await asyncio.sleep(0.05)

    async def start_stream(
        self, session: aiohttp.ClientSession | None = None, *, tenant: str = ""
    ) -> aiohttp.ClientResponse:
        """Return an answer whose first event has come and which goes on until the fake is told to finish."""
        url = f"http://127.0.0.1:{self.openai_port}/v1/completions"
        response = await (session or self.session).post(url, headers={str(Header.TENANT): tenant} if tenant else {})
        assert await response.content.readline() == b"data: first\n"
        return response

    async def said(self, words: str) -> None:
        """Wait until a line of the server's output has `words` in it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any(words in line for line in self.output):
                await self._read_line()

    async def phase(self, phase: Phase) -> None:
        await self.said(f"gptoss-server {phase}:")

    async def ended(self) -> int:
        """Return the exit status."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for line in self.process.stderr:
                self.output.append(line.decode())
            return await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def message(self) -> str:
        return self.termination_log.read_text() if self.termination_log.exists() else ""

    async def _read_line(self) -> None:
        assert self.process.stderr is not None
        line = await self.process.stderr.readline()
        if not line:
            raise AssertionError("the server ended:\n" + "".join(self.output))
        self.output.append(line.decode())


@asynccontextmanager
async def running(orders: ServerOrders | str, scratch: Path, **environment: str) -> AsyncIterator[Server]:
    """Start the server; afterwards nothing of it is left, whatever happened."""
    openai_port, health_port, agent_port = free_ports(3)
    termination_log = scratch / "termination-log"
    traffic_file = scratch / "traffic"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gptoss_runtime.server"),
        env={
            **os.environ,
            "GPTOSS_SERVER": orders if isinstance(orders, str) else orders.encode(),
            "GPTOSS_VLLM_COMMAND": f"{sys.executable} -m {FAKE}",
            "PYTHONPATH": str(ROOT),
            "GPTOSS_OPENAI_PORT": str(openai_port),
            "GPTOSS_HEALTH_PORT": str(health_port),
            "GPTOSS_AGENT_PORT": str(agent_port),
            "GPTOSS_TERMINATION_LOG": str(termination_log),
            "GPTOSS_TRAFFIC_FILE": str(traffic_file),
            "GPTOSS_WARM_UP_SECONDS": "0",
            **environment,
        },
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with aiohttp.ClientSession() as session:
            ports = (openai_port, health_port, agent_port)
            yield Server(process, session, *ports, termination_log, traffic_file)
    finally:
        kill_session(process.pid)
        await process.wait()


def kill_session(session: int) -> None:
    """Kill every process of a session: the server, and vLLM's process group, which is another one."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The fields after the program's name, which may hold spaces: state, parent, group, session.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                os.kill(int(entry.name), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            continue


def scenario(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """Let pytest run a coroutine function, on an event loop that nothing else knows of."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(test(*args, **kwargs))

    return run
