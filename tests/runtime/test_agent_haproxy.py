"""The agent's words as HAProxy understands them: the real program, the real server, a fake vLLM."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from gptoss_runtime.contract import ExitCode, Phase
from tests.runtime.harness import PATIENCE_SECONDS, Server, a_model, an_order, running, scenario


pytestmark = pytest.mark.usefixtures("haproxy")

CONFIG = """\
global
  stats socket {socket} mode 600 level admin
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
frontend clients
  bind fd@{listener}
  default_backend replicas
backend replicas
  option httpchk GET /readyz
  default-server inter 100ms fall 2 rise 1 weight 100 agent-check agent-inter 100ms
  server r1 127.0.0.1:{openai_port} check port {health_port} agent-port {agent_port}
"""


BACK = ("leaving forced drain", "is UP, reason: Layer7 check passed")
"""The agent's word and the health check's, whichever comes first."""


class Gateway:
    """A running HAProxy in front of one replica."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, stats: Path) -> None:
        self._process = process
        self._port = port
        self._stats = stats

    async def said(self, *words: str) -> None:
        """Wait until HAProxy has reported all of these changes of state, in any order."""
        assert self._process.stderr is not None
        lines: list[str] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for line in self._process.stderr:
                lines.append(line.decode())
                if all(any(word in line for line in lines) for word in words):
                    return
        raise AssertionError(f"HAProxy ended and never said {words!r}:\n{''.join(lines)}")

    async def post(self, session: aiohttp.ClientSession) -> aiohttp.ClientResponse:
        return await session.post(f"http://127.0.0.1:{self._port}/v1/completions")

    async def column(self, name: str) -> str:
        """Return one column of `show stat` for the replica."""
        reader, writer = await asyncio.open_unix_connection(self._stats)
        writer.write(b"show stat replicas 4 -1\n")
        header, row, *_ = (await reader.read()).decode().splitlines()
        writer.close()
        return dict(zip(header.removeprefix("# ").split(","), row.split(","), strict=True))[name]


@asynccontextmanager
async def gateway(server: Server, scratch: Path) -> AsyncIterator[Gateway]:
    stats, config = scratch / "stats", scratch / "haproxy.cfg"
    # HAProxy inherits a socket that listens already, so that a request waits for it instead of being refused.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ports = {"health_port": server.health_port, "openai_port": server.openai_port, "agent_port": server.agent_port}
        config.write_text(CONFIG.format(socket=stats, listener=listener.fileno(), **ports))
        process = await asyncio.create_subprocess_exec(
            *("haproxy", "-db", "-f", str(config)), stderr=asyncio.subprocess.PIPE, pass_fds=[listener.fileno()]
        )
        try:
            yield Gateway(process, listener.getsockname()[1], stats)
        finally:
            process.kill()
            await process.wait()


@scenario
async def test_a_replica_is_out_until_ready_and_back_after_a_failure(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with (
        running(an_order(a_model(tmp_path)), tmp_path, FAKE_LOAD=str(gate)) as server,
        gateway(server, tmp_path) as haproxy,
    ):
        await server.phase(Phase.LOADING)
        await haproxy.said("enters drain state")
        async with await haproxy.post(server.session) as refused:
            assert refused.status == 503

        gate.write_bytes(b"1")
        await haproxy.said(*BACK)
        assert await haproxy.column("slim") == "4"
        assert await haproxy.column("weight") == "100"

        await server.order("health?status=503")
        await haproxy.said("is DOWN, reason: Layer7 wrong status, code: 503")
        await server.order("health?status=200")
        await haproxy.said(*BACK)
        await server.order("finish")
        async with await haproxy.post(server.session) as answer:
            assert (answer.status, (await answer.text())[:11]) == (200, "data: first")


@scenario
async def test_a_drain_keeps_new_requests_away_and_running_ones_whole(tmp_path: Path) -> None:
    async with running(an_order(a_model(tmp_path)), tmp_path) as server:
        await server.phase(Phase.READY)
        await drain_behind_a_gateway(server, tmp_path)


async def drain_behind_a_gateway(server: Server, scratch: Path) -> None:
    async with gateway(server, scratch) as haproxy:
        stream = await haproxy.post(server.session)
        assert await stream.content.readline() == b"data: first\n"

        server.signal(signal.SIGTERM)
        await haproxy.said("enters drain state")
        async with await haproxy.post(server.session) as refused:
            assert refused.status == 503

        await server.order("finish")
        assert (await stream.text()).endswith("data: [DONE]\n\n")
        assert await server.ended() == ExitCode.OK
