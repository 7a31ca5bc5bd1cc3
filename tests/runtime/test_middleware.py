"""The middleware as a whole: counts, reports, and what a client of a broken stream sees."""

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from gptoss_runtime.gateway_contract import USAGE_PORT
from gptoss_runtime.server.asgi import Message, Receive, Scope, Send
from gptoss_runtime.server.books import MAX_TENANTS, OTHER, TOKENS_PATH
from gptoss_runtime.server.exchange import LOST_EVENT
from gptoss_runtime.server.middleware import Middleware
from tests.runtime.asgi_client import (
    EVENT,
    GATEWAY,
    JSON,
    STREAM,
    BrokenError,
    a_scope,
    ask,
    body,
    in_flight,
    look,
    saying,
    what_is_left,
)
from tests.runtime.harness import PATIENCE_SECONDS, scenario


COMPLETED = (
    b'event: response.completed\ndata: {"type":"response.completed","response":{"output":[{"text":'
    b'"\\"usage\\":{\\"input_tokens\\":1,\\"output_tokens\\":1}"}],"tools":[{"parameters":{"usage":{"type":"string"}}}],'
    b'"usage":{"input_tokens":11,"input_tokens_details":{"cached_tokens":0},"output_tokens":5,"total_tokens":16},'
    b'"user":null}}\n\n'
)


ACME = {"x_gptoss_tenant": "acme", "x_request_id": "r1", "content_length": "400"}


@pytest.fixture
def gateway() -> Iterator[socket.socket]:
    """Where a gateway hears of usage."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inbox:
        inbox.bind((GATEWAY, USAGE_PORT))
        inbox.settimeout(PATIENCE_SECONDS)
        yield inbox


def reported(inbox: socket.socket) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(inbox.recv(65536))
    assert report["version"] == 1
    usage: dict[str, Any] = report["usage"]
    return usage


@scenario
async def test_usage_that_vllm_leaves_is_reported_and_the_answer_is_not_touched(gateway: socket.socket) -> None:
    messages = [STREAM, body(EVENT), body(b"data: [DONE]\n\n"), body(b"", more=False)]
    middleware = Middleware(saying(*messages, usage=(90, 33)))
    assert await ask(middleware, a_scope(**ACME)) == messages
    assert reported(gateway) == {"id": "r1", "tenant": "acme", "prompt_tokens": 90, "generation_tokens": 33}
    totals = await look(middleware, TOKENS_PATH)
    assert totals == {"tokens": {"acme": [90, 33]}, "unsent_reports": 0}


@pytest.mark.parametrize(
    "messages",
    [
        [STREAM, body(EVENT), body(COMPLETED), body(b"", more=False)],
        [JSON, body(COMPLETED.partition(b"data: ")[2].strip(), more=False)],
    ],
)
@scenario
async def test_usage_of_the_responses_api_is_read_from_the_end_of_the_answer(
    gateway: socket.socket, messages: list[Message]
) -> None:
    assert await ask(Middleware(saying(*messages)), a_scope("/v1/responses", **ACME)) == messages
    assert reported(gateway) == {"id": "r1", "tenant": "acme", "prompt_tokens": 11, "generation_tokens": 5}


@scenario
async def test_a_stream_that_the_client_left_is_counted_by_its_events(gateway: socket.socket) -> None:
    await ask(Middleware(saying(STREAM, body(EVENT), body(EVENT), body(EVENT))), a_scope(**ACME))
    assert reported(gateway) == {"id": "r1", "tenant": "acme", "prompt_tokens": 100, "generation_tokens": 3}


@pytest.mark.parametrize(
    "messages",
    [
        [JSON, body(b'{"usage":{"input_tokens":', more=False)],
        [JSON, body(b'{"usage":{"input_tokens":"7","output_tokens":1}}', more=False)],
        [JSON, body(b"\xff\x00", more=False)],
        [JSON | {"status": 400}, body(b'{"error":{}}', more=False)],
        [STREAM, body(b'data: {"error":{"code":503}}\n\n'), body(b"", more=False)],
        [STREAM],
        [],
    ],
)
@scenario
async def test_an_answer_without_a_count_costs_nothing(messages: list[Message]) -> None:
    middleware = Middleware(saying(*messages))
    await ask(middleware, a_scope("/v1/responses", **ACME))
    assert await look(middleware, TOKENS_PATH) == {"tokens": {}, "unsent_reports": 0}
    assert await in_flight(middleware) == {}


@scenario
async def test_what_vllm_leaves_is_ignored_where_it_is_no_number() -> None:
    middleware = Middleware(saying(JSON, body(b"{}", more=False), usage=(None, "7")))
    await ask(middleware, a_scope(**ACME))
    assert (await look(middleware, TOKENS_PATH))["tokens"] == {}


@scenario
async def test_without_a_tenant_tokens_are_counted_and_nobody_is_told() -> None:
    middleware = Middleware(saying(JSON, body(b"{}", more=False), usage=(1, 2)))
    await ask(middleware, a_scope(client="255.255.255.255"))
    assert await look(middleware, TOKENS_PATH) == {"tokens": {"anonymous": [1, 2]}, "unsent_reports": 0}
    # Sending to all is not allowed.
    await ask(middleware, a_scope(client="255.255.255.255", **ACME))
    assert await look(middleware, TOKENS_PATH) == {
        "tokens": {"anonymous": [1, 2], "acme": [1, 2]},
        "unsent_reports": 1,
    }


@scenario
async def test_tenants_beyond_a_thousand_are_counted_together() -> None:
    middleware = Middleware(saying(JSON, body(b"{}", more=False), usage=(1, 2)))
    for number in range(MAX_TENANTS + 2):
        await ask(middleware, {**a_scope(), "client": None, "headers": [(b"x-gptoss-tenant", b"t%d" % number)]})
    tokens = (await look(middleware, TOKENS_PATH))["tokens"]
    assert len(tokens) == MAX_TENANTS + 1
    assert tokens[OTHER] == [2, 4]


@scenario
async def test_a_request_is_in_flight_until_its_last_byte() -> None:
    go = asyncio.Event()
    sent = asyncio.Event()
    ended = asyncio.Event()

    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send(STREAM)
        await send(body(EVENT))
        await go.wait()
        await send(body(b"", more=False))
        sent.set()
        await ended.wait()

    middleware = Middleware(app)
    first, second, other = (asyncio.create_task(ask(middleware, a_scope(client=c))) for c in "aab")
    await asyncio.sleep(0)
    assert await in_flight(middleware) == {"a": 2, "b": 1}
    other.cancel()
    await asyncio.wait([other])
    assert await in_flight(middleware) == {"a": 2}
    go.set()
    await sent.wait()
    assert await in_flight(middleware) == {}
    ended.set()
    await asyncio.gather(first, second)
    assert await in_flight(middleware) == {}


@scenario
async def test_only_the_api_is_counted() -> None:
    seen: list[dict[str, Any]] = []

    async def app(_: Scope, __: Receive, send: Send) -> None:
        seen.append(await in_flight(middleware))
        await send(JSON)
        await send(body(b"{}", more=False))

    middleware = Middleware(app)
    for path in ("/health", "/gptoss/other", "/v1/models"):
        await ask(middleware, a_scope(path, client="a"))
    assert seen == [{}, {"a": 1}]


@pytest.mark.parametrize("error", [BrokenError(), asyncio.CancelledError()])
@scenario
async def test_a_stream_that_breaks_off_ends_with_an_error(error: BaseException) -> None:
    got, raised = await what_is_left(STREAM, body(EVENT), error=error)
    assert got == [STREAM, body(EVENT), body(LOST_EVENT, more=False)]
    assert raised is error
    event = json.loads(LOST_EVENT.removeprefix(b"data: "))["error"]
    assert {**event, "message": ""} == {"message": "", "type": "server_error", "param": None, "code": "replica_lost"}


@scenario
async def test_the_error_is_an_event_of_its_own_after_half_an_event() -> None:
    got, _ = await what_is_left(STREAM, body(EVENT), body(b'data: {"cho'), error=BrokenError())
    assert got[-1] == body(b"\n\n" + LOST_EVENT, more=False)


@pytest.mark.parametrize(
    ("messages", "left"),
    [
        ([], []),
        # A head that is still withheld leaves room for a real 500.
        ([STREAM], []),
        ([JSON, body(b"{")], [JSON, body(b"{")]),
        ([STREAM, body(EVENT), body(b"", more=False)], [STREAM, body(EVENT), body(b"", more=False)]),
    ],
)
@scenario
async def test_what_is_no_open_stream_gets_no_event(messages: list[Message], left: list[Message]) -> None:
    error = BrokenError()
    assert await what_is_left(*messages, error=error) == (left, error)


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
@scenario
async def test_other_protocols_are_not_touched(kind: str) -> None:
    seen: list[Any] = []

    async def app(*arguments: Any) -> None:  # noqa: ANN401
        seen.extend(arguments)

    async def receive() -> Message:
        raise AssertionError

    async def send(_: Message) -> None:
        raise AssertionError

    scope = {"type": kind}
    await Middleware(app)(scope, receive, send)
    assert seen == [scope, receive, send]
    assert scope == {"type": kind}
