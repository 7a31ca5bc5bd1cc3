"""The health port: probes for kubelet and HAProxy, the state document for the operator, metrics for Prometheus."""

import asyncio
import json
from dataclasses import asdict

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from gptoss_runtime.server.board import Board
from gptoss_runtime.server.engine import Engine
from gptoss_runtime.server.metrics import OwnMetrics


EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""What vLLM writes when nothing else is asked for, and what our own part is written in."""


async def serve_health(board: Board, engine: Engine, port: int) -> web.AppRunner:
    """Return the runner of the health port, which already answers. Raises OSError when the port is taken."""
    runner = web.AppRunner(make_app(board, engine), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner


def make_app(board: Board, engine: Engine) -> web.Application:
    """Return the application of the health port."""

    async def startup(_: web.Request) -> web.Response:
        return _probe(board.load_seconds is not None, board)

    async def ready(_: web.Request) -> web.Response:
        return _probe(board.judgement.verdict.ready, board)

    async def live(_: web.Request) -> web.Response:
        return _probe(board.judgement.verdict.live, board)

    async def deep(_: web.Request) -> web.Response:
        checks = board.checks()
        document = {
            "phase": board.judgement.phase,
            "verdict": asdict(board.judgement.verdict),
            "checks": {name: asdict(result) for name, result in checks.items()},
        }
        status = 503 if any(result.ok is False for result in checks.values()) else 200
        return web.Response(status=status, text=json.dumps(document) + "\n", content_type="application/json")

    async def state(_: web.Request) -> web.Response:
        return web.Response(text=board.state().encode(), content_type="application/json")

    async def metrics(_: web.Request) -> web.Response:
        # vLLM's part is passed on as it is: its names are documented, and dashboards for it exist.
        vllms, tokens = await asyncio.gather(engine.read_metrics(), engine.ask_tokens())
        registry = CollectorRegistry()
        registry.register(OwnMetrics(board, tokens))
        text = (vllms or "") + generate_latest(registry).decode()
        return web.Response(text=text, headers={"content-type": EXPOSITION_TYPE})

    app = web.Application()
    app.add_routes(
        [
            web.get("/startupz", startup),
            web.get("/readyz", ready),
            web.get("/livez", live),
            web.get("/healthz/deep", deep),
            web.get("/state", state),
            web.get("/metrics", metrics),
        ]
    )
    return app


def _probe(good: bool, board: Board) -> web.Response:  # noqa: FBT001 - the answer itself
    return web.Response(status=200 if good else 503, text=board.judgement.verdict.reason + "\n")
