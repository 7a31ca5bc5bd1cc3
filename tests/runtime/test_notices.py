"""A replica whose machine is announced to go, by a metadata service as AWS has it."""

import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from e2e.ports import free_ports
from gptoss_runtime.contract import ExitCode, Notice, NoticeKind, Phase
from gptoss_runtime.orders import Cloud
from tests.runtime.harness import a_model, an_order, running, scenario


LEAVING = "its machine will be taken away (AWS spot/instance-action); requests are finishing"


@dataclass
class Metadata:
    """What the service says now; None is nothing."""

    url: str
    action: str | None = None
    rebalance: str | None = None

    def take(self, seconds: float) -> float:
        """Announce that the machine goes in so many seconds; return when, in seconds since 1970."""
        goes_at = float(int(time.time() + seconds))
        self.action = json.dumps({"action": "terminate", "time": datetime.fromtimestamp(goes_at, UTC).isoformat()})
        return goes_at


@asynccontextmanager
async def aws() -> AsyncIterator[Metadata]:
    (port,) = free_ports(1)
    metadata = Metadata(url=f"http://127.0.0.1:{port}")

    async def token(_: web.Request) -> web.Response:
        return web.Response(text="token")

    async def action(_: web.Request) -> web.Response:
        return web.Response(text=metadata.action) if metadata.action else web.Response(status=404)

    async def rebalance(_: web.Request) -> web.Response:
        return web.Response(text=metadata.rebalance) if metadata.rebalance else web.Response(status=404)

    app = web.Application()
    app.add_routes(
        [
            web.put("/latest/api/token", token),
            web.get("/latest/meta-data/spot/instance-action", action),
            web.get("/latest/meta-data/events/recommendations/rebalance", rebalance),
        ]
    )
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield metadata
    finally:
        await runner.cleanup()


@scenario
async def test_a_replica_whose_machine_goes_drains_cuts_in_time_and_stays(tmp_path: Path) -> None:
    orders = an_order(a_model(tmp_path), cloud=Cloud.AWS)
    async with aws() as metadata, running(orders, tmp_path, GPTOSS_METADATA_URL=metadata.url) as server:
        await server.phase(Phase.READY)
        stream = await server.start_stream()
        goes_at = metadata.take(15)
        await server.said(f"{Phase.DRAINING}: {LEAVING}")
        assert await server.get("/readyz") == (503, f"{LEAVING}\n")
        assert (await server.get("/livez"))[0] == 200
        assert await server.agent() == "drain\n"
        notice = Notice(kind=NoticeKind.TERMINATION, source="AWS spot/instance-action", deadline=goes_at)
        assert (await server.state()).notice == notice
        _, text = await server.get("/metrics")
        families = {family.name: family.samples for family in text_string_to_metric_families(text)}
        labels = {"kind": "Termination", "source": "AWS spot/instance-action"}
        assert [(s.labels, s.value) for s in families["gptoss_server_notice"]] == [(labels, 1.0)]
        assert families["gptoss_server_notice_deadline_seconds"][0].value == goes_at

        assert "replica_leaving" in await stream.text()
        assert goes_at - 6 < time.time() < goes_at
        assert (await server.get("/livez"))[0] == 200
        # A stop now ends it at once: nothing is left to wait for.
        server.signal(signal.SIGTERM)
        assert await server.ended() == ExitCode.OK
        assert "20 s of draining" not in "".join(server.output)


@scenario
async def test_a_notice_that_is_withdrawn_brings_the_replica_back_even_after_the_cut(tmp_path: Path) -> None:
    orders = an_order(a_model(tmp_path), cloud=Cloud.AWS)
    async with aws() as metadata, running(orders, tmp_path, GPTOSS_METADATA_URL=metadata.url) as server:
        await server.phase(Phase.READY)
        stream = await server.start_stream()
        metadata.take(8)
        await server.phase(Phase.DRAINING)
        assert "replica_leaving" in await stream.text()
        server.output.clear()
        metadata.action = None
        await server.phase(Phase.READY)
        again = await server.start_stream()
        await server.order("finish")
        assert (await again.text()).endswith("data: [DONE]\n\n")
        assert (await server.state()).notice is None


@scenario
async def test_a_vllm_that_hangs_after_the_cut_is_started_again_when_the_machine_stays(tmp_path: Path) -> None:
    orders = an_order(a_model(tmp_path), cloud=Cloud.AWS, stall_seconds=2, restart_seconds=4)
    async with aws() as metadata, running(orders, tmp_path, GPTOSS_METADATA_URL=metadata.url) as server:
        await server.phase(Phase.READY)
        stream = await server.start_stream()
        metadata.take(8)
        assert "replica_leaving" in await stream.text()
        os.kill(int(await server.order("pid")), signal.SIGSTOP)
        metadata.action = None
        assert await server.ended() == ExitCode.ENGINE_DIED
        assert "no answer to health questions for 4 s" in server.message()


@scenario
async def test_a_rebalance_is_told_and_changes_nothing(tmp_path: Path) -> None:
    orders = an_order(a_model(tmp_path), cloud=Cloud.AWS)
    async with aws() as metadata:
        metadata.rebalance = json.dumps({"noticeTime": "2026-11-23T08:22:00Z"})
        async with running(orders, tmp_path, GPTOSS_METADATA_URL=metadata.url) as server:
            await server.said("The cloud announces: Rebalance")
            await server.phase(Phase.READY)
            assert (await server.get("/readyz"))[0] == 200
            state = await server.state()
            assert state.notice == Notice(kind=NoticeKind.REBALANCE, source="AWS events/recommendations/rebalance")


@scenario
async def test_a_replica_that_is_not_ready_yet_stays_so_when_its_machine_goes(tmp_path: Path) -> None:
    orders = an_order(a_model(tmp_path), cloud=Cloud.AWS)
    async with aws() as metadata:
        metadata.take(20)
        gate = tmp_path / "gate"
        os.mkfifo(gate)
        loads = {"FAKE_LOAD": str(gate), "GPTOSS_METADATA_URL": metadata.url}
        async with running(orders, tmp_path, **loads) as server:
            await server.phase(Phase.DRAINING)
            assert (await server.get("/readyz"))[0] == 503
            server.signal(signal.SIGTERM)
            assert await server.ended() == ExitCode.OK
