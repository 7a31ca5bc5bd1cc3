"""The middleware counts the answers that are over, and those of them that failed."""

import asyncio

import pytest

from gptoss_runtime.server.asgi import Message, Receive, Scope, Send
from gptoss_runtime.server.books import CUT_TOKEN_ENV, IN_FLIGHT_PATH, TOKENS_PATH
from gptoss_runtime.server.middleware import Middleware
from tests.runtime.asgi_client import (
    EVENT,
    JSON,
    STREAM,
    BrokenError,
    a_scope,
    ask,
    body,
    in_flight,
    leave_usage,
    look,
    saying,
)
from tests.runtime.harness import scenario


async def answers(middleware: Middleware) -> tuple[int, int]:
    """Return how many requests are over, and how many of them failed."""
    told = await look(middleware, IN_FLIGHT_PATH)
    return told["answers"], told["failed"]


QUEUE_FULL = [JSON | {"status": 503}, body(b'{"error":{"message":"too many requests"}}', more=False)]
ENGINE_LOST = b'{"error":{"message":"EngineCore encountered an issue. See stack trace above.","code":500}}'


@pytest.mark.parametrize(
    ("messages", "failed"),
    [
        ([JSON, body(b"{}", more=False)], 0),
        ([JSON | {"status": 400}, body(b"{}", more=False)], 0),
        ([JSON | {"status": 500}, body(b"{}", more=False)], 1),
        (QUEUE_FULL, 0),
        # It becomes a 503, so that gateways send the request elsewhere.
        ([JSON | {"status": 500}, body(ENGINE_LOST, more=False)], 1),
        ([STREAM, body(b"data: " + ENGINE_LOST + b"\n\n"), body(b"", more=False)], 1),
        ([STREAM, body(EVENT), body(b"data: [DONE]\n\n"), body(b"", more=False)], 0),
        ([STREAM, body(EVENT), body(b"data: " + ENGINE_LOST + b"\n\n"), body(b"", more=False)], 1),
        ([STREAM, body(EVENT), body(b'data: {"error": {"code": 400}}\n\n'), body(b"", more=False)], 0),
        # vLLM says nothing more once its client is gone.
        ([STREAM, body(EVENT)], 0),
    ],
)
@scenario
async def test_answers_that_failed_are_counted(messages: list[Message], failed: int) -> None:
    middleware = Middleware(saying(*messages))
    await ask(middleware, a_scope())
    assert await answers(middleware) == (1, failed)


@pytest.mark.parametrize("error", [BrokenError(), asyncio.CancelledError()])
@pytest.mark.parametrize("messages", [[], [JSON, body(b"{")], [STREAM, body(EVENT)]])
@scenario
async def test_what_breaks_off_has_failed(messages: list[Message], error: BaseException) -> None:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        raise error

    middleware = Middleware(app)
    with pytest.raises(type(error)):
        await ask(middleware, a_scope())
    assert await answers(middleware) == (1, 1)


@scenario
async def test_what_breaks_off_because_its_client_left_has_not_failed() -> None:
    async def app(_: Scope, receive: Receive, __: Send) -> None:
        assert (await receive())["type"] == "http.disconnect"
        raise BrokenError

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        raise ConnectionResetError

    middleware = Middleware(app)
    with pytest.raises(BrokenError):
        await middleware(a_scope(), receive, send)
    with pytest.raises(ConnectionResetError):
        await Middleware(saying(JSON))(a_scope(), receive, send)
    assert await answers(middleware) == (1, 0)


@scenario
async def test_the_supervisors_own_requests_are_counted_nowhere() -> None:
    seen: list[dict[str, int]] = []

    async def app(scope: Scope, _: Receive, send: Send) -> None:
        seen.append(await in_flight(middleware))
        leave_usage(scope, 1, 2)
        await send(JSON | {"status": 500})
        await send(body(b"{}", more=False))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CUT_TOKEN_ENV, "secret")
        middleware = Middleware(app)
    await ask(middleware, a_scope(x_gptoss_own="secret"))
    assert seen == [{}]
    assert await answers(middleware) == (0, 0)
    assert (await look(middleware, TOKENS_PATH))["tokens"] == {}
    # Nobody else can hide.
    await ask(middleware, a_scope(x_gptoss_own="guess"))
    assert await answers(middleware) == (1, 1)


@scenario
async def test_looking_at_the_api_is_no_answer() -> None:
    middleware = Middleware(saying(JSON, body(b"{}", more=False)))
    await ask(middleware, {**a_scope("/v1/models"), "method": "GET"})
    assert await answers(middleware) == (0, 0)
