"""What vLLM is asked, and how the answers are taken, over a real connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from e2e.ports import free_ports
from gptoss_runtime.server.beside import beside
from gptoss_runtime.server.books import OWN_HEADER
from gptoss_runtime.server.deep import Models
from gptoss_runtime.server.engine import Engine, Reply, Requests, new_session
from gptoss_runtime.server.telemetry import Answers
from gptoss_runtime.server.watchdog import Answer
from tests.runtime.harness import PATIENCE_SECONDS, scenario


class Front:
    """A front that answers as it is told."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.status = 200
        self.body = "{}"
        self.own = ""

    async def answer(self, _: web.Request) -> web.Response:
        return web.Response(status=self.status, text=self.body, content_type="application/json")

    async def hang(self, request: web.Request) -> web.Response:
        self.own = request.headers.get(OWN_HEADER, "")
        self.asked.set()
        await self.go_on.wait()
        return web.json_response({"choices": []})


@asynccontextmanager
async def asked(front: Front) -> AsyncIterator[Engine]:
    app = web.Application()
    app.add_routes([web.post("/v1/completions", front.hang), web.get("/{path:.*}", front.answer)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    (port,) = free_ports(1)
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        async with new_session() as session:
            yield Engine(session, port, cut_token="token")
    finally:
        await runner.cleanup()


@scenario
async def test_our_own_request_is_no_clients() -> None:
    front = Front()
    async with asked(front) as engine:
        probe = asyncio.create_task(engine.ask_model("/v1/completions", {}, timeout_seconds=PATIENCE_SECONDS))
        await front.asked.wait()
        assert engine.own_requests == 1
        # By which the middleware knows it.
        assert front.own == "token"
        front.go_on.set()
        assert await probe == Reply(status=200, document={"choices": []})
        assert engine.own_requests == 0


@pytest.mark.parametrize(
    ("body", "requests"),
    [
        (
            '{"in_flight": {"10.0.0.7": 3}, "answers": 9, "failed": 1}',
            Requests(in_flight={"10.0.0.7": 3}, answers=Answers(all=9, failed=1)),
        ),
        ('{"in_flight": {}}', Requests(in_flight={}, answers=None)),
        ('{"answers": 9, "failed": 1}', None),
        ("nonsense", None),
    ],
)
@scenario
async def test_reads_what_clients_have_and_had(body: str, requests: Requests | None) -> None:
    front = Front()
    front.body = body
    async with asked(front) as engine:
        assert await engine.ask_requests() == requests
        assert await engine.ask_in_flight() == (None if requests is None else requests.in_flight)


@scenario
async def test_a_model_that_does_not_answer_in_time_has_no_status() -> None:
    front = Front()
    async with asked(front) as engine:
        reply = await engine.ask_model("/v1/completions", {}, timeout_seconds=0.2)
        front.go_on.set()
    assert reply == Reply(status=None, document={})


@pytest.mark.parametrize(
    ("status", "body", "answer"), [(200, "", Answer.UP), (503, "", Answer.DOWN), (404, "", Answer.DOWN)]
)
@scenario
async def test_health_is_up_or_down(status: int, body: str, answer: Answer) -> None:
    front = Front()
    front.status, front.body = status, body
    async with asked(front) as engine:
        assert await engine.ask_health() is answer


@pytest.mark.parametrize(
    ("body", "models"),
    [
        ('{"data": [{"id": "a", "max_model_len": 4096}, {"id": "b"}]}', Models(lengths={"a": 4096, "b": None})),
        ('{"data": [{"name": "a"}]}', None),
        ('{"data": ["a"]}', None),
        ("nonsense", None),
        ("[]", None),
    ],
)
@scenario
async def test_lists_the_models(body: str, models: Models | None) -> None:
    front = Front()
    front.body = body
    async with asked(front) as engine:
        assert await engine.ask_models() == models


@scenario
async def test_says_whether_the_few_metrics_are_offered_alone() -> None:
    front = Front()
    front.body = "vllm:num_requests_running 1\n"
    async with asked(front) as engine:
        assert await engine.read_numbers() == (front.body, True)
        front.status = 503
        assert await engine.read_numbers() == (None, True)
        front.status = 404
        assert await engine.read_numbers() == (None, False)


@scenario
async def test_nobody_there_is_told_as_a_value() -> None:
    (port,) = free_ports(1)
    async with new_session() as session:
        engine = Engine(session, port, cut_token="token")
        assert await engine.ask_health() is Answer.DOWN
        assert await engine.ask_in_flight() is None
        assert await engine.read_numbers() == (None, True)
        assert await engine.cut() == ""
        assert not await engine.lift_cut()
        assert (await engine.ask_model("/v1/completions", {}, timeout_seconds=1.0)).status is None


async def fail_after(event: asyncio.Event) -> None:
    await event.wait()
    raise LookupError("a bug")


async def wait_beside(event: asyncio.Event) -> None:
    async with beside(fail_after(event)):
        event.set()
        await asyncio.sleep(PATIENCE_SECONDS)


async def raise_beside() -> None:
    async with beside(fail_after(asyncio.Event())):
        raise LookupError("mine")


@scenario
async def test_a_bug_in_a_loop_beside_ends_what_it_is_beside_of() -> None:
    with pytest.raises(LookupError, match="a bug"):
        await wait_beside(asyncio.Event())


@scenario
async def test_a_loop_beside_ends_with_it_and_errors_keep_their_type() -> None:
    with pytest.raises(LookupError, match="mine"):
        await raise_beside()
