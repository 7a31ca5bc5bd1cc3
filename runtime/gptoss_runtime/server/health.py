"""The health port: probes for kubelet and HAProxy, the state document for the operator, metrics for Prometheus."""

import asyncio
from collections.abc import Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gptoss_runtime.contract import Phase
from gptoss_runtime.server.board import Board
from gptoss_runtime.server.engine import Engine, TokenTotals


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

    async def state(_: web.Request) -> web.Response:
        return web.Response(text=board.state().encode(), content_type="application/json")

    async def metrics(_: web.Request) -> web.Response:
        # vLLM's part is passed on as it is: its names are documented, and dashboards for it exist.
        vllms, tokens = await asyncio.gather(engine.read_metrics(), engine.ask_tokens())
        registry = CollectorRegistry()
        registry.register(_OwnMetrics(board, tokens))
        text = (vllms or "") + generate_latest(registry).decode()
        return web.Response(text=text, headers={"content-type": EXPOSITION_TYPE})

    app = web.Application()
    app.add_routes(
        [
            web.get("/startupz", startup),
            web.get("/readyz", ready),
            web.get("/livez", live),
            web.get("/state", state),
            web.get("/metrics", metrics),
        ]
    )
    return app


def _probe(good: bool, board: Board) -> web.Response:  # noqa: FBT001 - the answer itself
    return web.Response(status=200 if good else 503, text=board.judgement.verdict.reason + "\n")


class _OwnMetrics(Collector):
    """Our own metrics, computed from the board and the middleware's counts when they are asked for."""

    def __init__(self, board: Board, tokens: TokenTotals | None) -> None:
        self._board = board
        self._tokens = tokens

    def collect(self) -> Iterator[Metric]:
        board = self._board
        yield GaugeMetricFamily(
            "gptoss_server_ready", "Whether the replica takes requests.", value=float(board.judgement.verdict.ready)
        )
        phases = GaugeMetricFamily("gptoss_server_phase", "1 for the phase the replica is in.", labels=["phase"])
        for phase in Phase:
            phases.add_metric([phase], float(phase is board.judgement.phase))
        yield phases
        yield GaugeMetricFamily("gptoss_server_uptime_seconds", "Since the server's start.", value=board.uptime_seconds)
        if board.load_seconds is not None:
            yield GaugeMetricFamily(
                "gptoss_server_load_seconds", "From the server's start until it was ready.", value=board.load_seconds
            )
        if board.in_flight is not None:
            yield GaugeMetricFamily(
                "gptoss_server_requests_in_flight", "Accepted and not yet answered to the end.", value=board.in_flight
            )
        if self._tokens is not None:
            yield from _token_metrics(self._tokens)


def _token_metrics(tokens: TokenTotals) -> Iterator[Metric]:
    totals = CounterMetricFamily(
        "gptoss_server_tokens", "Tokens of finished requests since vLLM's start.", labels=["tenant", "direction"]
    )
    for direction, by_tenant in (("prompt", tokens.prompt), ("generation", tokens.generation)):
        for tenant, count in by_tenant.items():
            totals.add_metric([tenant, direction], count)
    yield totals
    yield CounterMetricFamily(
        "gptoss_server_usage_reports_unsent",
        "Reports of a request's tokens that could not be sent to its gateway.",
        value=tokens.unsent_reports,
    )
