"""The cut: every request ends at once, as its client understands it, and vLLM hears of it."""

import asyncio
import json
import time

import pytest

from gptoss_runtime.server.asgi import Message, Receive, Scope, Send
from gptoss_runtime.server.books import CUT_PATH, CUT_TOKEN_ENV, IN_FLIGHT_PATH, TOKENS_PATH
from gptoss_runtime.server.cut import CUT_SECONDS
from gptoss_runtime.server.exchange import LEAVING_EVENT
from gptoss_runtime.server.middleware import Middleware
from tests.runtime.cut_harness import (
    CHAT,
    EVENT,
    JSON,
    STREAM,
    TOKEN,
    ask,
    begin,
    body,
    cut,
    document,
    is_refusal,
    nobody_is_in_flight,
    until_the_client_leaves,
)
from tests.runtime.harness import scenario


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CUT_TOKEN_ENV, TOKEN)


@scenario
async def test_a_stream_that_has_begun_ends_with_an_error_event() -> None:
    middleware = Middleware(until_the_client_leaves(STREAM, body(EVENT)))
    run = await begin(middleware, messages=2)
    assert await cut(middleware) == {"streams": 1, "others": 0}
    assert await run.ended() == [STREAM, body(EVENT), body(LEAVING_EVENT, more=False)]
    error = json.loads(LEAVING_EVENT.removeprefix(b"data: "))["error"]
    assert (error["type"], error["code"]) == ("server_error", "replica_leaving")


@scenario
async def test_the_error_is_an_event_of_its_own_after_half_an_event() -> None:
    middleware = Middleware(until_the_client_leaves(STREAM, body(EVENT), body(b'data: {"cho')))
    run = await begin(middleware, messages=3)
    await cut(middleware)
    assert (await run.ended())[-1] == body(b"\n\n" + LEAVING_EVENT, more=False)


@pytest.mark.parametrize(
    "before",
    [
        # Its head is withheld until the first token.
        (STREAM,),
        (),
    ],
)
@scenario
async def test_what_has_not_begun_is_answered_so_that_gateways_send_it_elsewhere(before: tuple[Message, ...]) -> None:
    middleware = Middleware(until_the_client_leaves(*before))
    run = await begin(middleware, messages=0)
    assert await cut(middleware) == {"streams": 0, "others": 1}
    assert is_refusal(await run.ended())


@scenario
async def test_what_the_application_says_after_the_cut_reaches_nobody() -> None:
    async def answer(send: Send) -> None:
        await send(JSON)
        await send(body(b"null", more=False))

    middleware = Middleware(until_the_client_leaves(then=answer))
    run = await begin(middleware, messages=0)
    await cut(middleware)
    assert is_refusal(await run.ended())


@scenario
async def test_an_application_that_fails_after_the_cut_troubles_nobody() -> None:
    async def fail(_: Send) -> None:
        raise RuntimeError("the client is gone")

    middleware = Middleware(until_the_client_leaves(then=fail))
    run = await begin(middleware, messages=0)
    await cut(middleware)
    assert is_refusal(await run.ended())


@scenario
async def test_what_does_not_listen_to_its_client_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send(STREAM)
        await send(body(EVENT))
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    middleware = Middleware(app)
    run = await begin(middleware, messages=2)
    assert await cut(middleware) == {"streams": 1, "others": 0}
    assert (await run.ended())[-1] == body(LEAVING_EVENT, more=False)
    assert cancelled.is_set()


@scenario
async def test_a_client_that_reads_nothing_does_not_hold_up_the_cut_nor_the_others() -> None:
    middleware = Middleware(until_the_client_leaves(STREAM, body(EVENT)))
    stuck, well = await begin(middleware, messages=2), await begin(middleware, messages=2)
    stuck.client.reads.clear()
    began = time.monotonic()
    assert await cut(middleware) == {"streams": 2, "others": 0}
    assert time.monotonic() - began < CUT_SECONDS + 10
    assert (await well.ended())[-1] == body(LEAVING_EVENT, more=False)
    # Its request is over, too, and vLLM has its place back.
    assert await stuck.ended() == [STREAM, body(EVENT)]
    assert await nobody_is_in_flight(middleware)


@scenario
async def test_an_application_that_cannot_be_ended_does_not_hold_up_the_cut() -> None:
    stop = asyncio.Event()

    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send(STREAM)
        await send(body(EVENT))
        while not stop.is_set():
            try:
                await stop.wait()
            except asyncio.CancelledError:
                continue

    middleware = Middleware(app)
    run = await begin(middleware, messages=2)
    assert await cut(middleware) == {"streams": 1, "others": 0}
    assert not run.task.done()
    # A second cut has nobody to tell.
    assert await cut(middleware) == {"streams": 0, "others": 0}
    stop.set()
    assert (await run.ended())[-1] == body(LEAVING_EVENT, more=False)


@scenario
async def test_an_answer_whose_last_part_is_on_its_way_is_no_stream_to_end() -> None:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send(JSON)
        await send(body(b"{"))
        await asyncio.Event().wait()

    middleware = Middleware(app)
    run = await begin(middleware, messages=2)
    assert await cut(middleware) == {"streams": 0, "others": 1}
    # Nothing can be said in it. The server closes the connection, and the client sees that its answer is incomplete.
    assert await run.ended() == [JSON, body(b"{")]


@scenario
async def test_an_answer_that_is_complete_gets_nothing_more() -> None:
    go = asyncio.Event()

    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send(JSON)
        await send(body(b"{}", more=False))
        await go.wait()

    middleware = Middleware(app)
    run = await begin(middleware, messages=2)
    go.set()
    await cut(middleware)
    assert await run.ended() == [JSON, body(b"{}", more=False)]


@scenario
async def test_what_was_cut_is_no_failure() -> None:
    async def fail(_: Send) -> None:
        raise RuntimeError("the client is gone")

    middleware = Middleware(until_the_client_leaves(STREAM, body(EVENT), then=fail))
    run = await begin(middleware, messages=2)
    await cut(middleware)
    await run.ended()
    # Refused.
    await ask(middleware, CHAT)
    assert await document(middleware, IN_FLIGHT_PATH, "GET") == {"in_flight": {}, "answers": 1, "failed": 0}


@scenario
async def test_after_the_cut_requests_are_refused_until_it_is_lifted() -> None:
    middleware = Middleware(until_the_client_leaves(STREAM, body(EVENT, more=False)))
    assert await cut(middleware) == {"streams": 0, "others": 0}
    assert is_refusal((await ask(middleware, CHAT)).got)
    # The supervisor's own questions are answered.
    assert await nobody_is_in_flight(middleware)
    assert await document(middleware, f"{CUT_PATH}/{TOKEN}", "DELETE") == {}
    assert (await ask(middleware, CHAT)).got == [STREAM, body(EVENT, more=False)]


@scenario
async def test_the_tokens_of_what_was_cut_are_counted() -> None:
    middleware = Middleware(until_the_client_leaves(STREAM, body(EVENT), body(EVENT)))
    run = await begin(middleware, messages=3)
    await cut(middleware)
    await run.ended()
    totals = await document(middleware, TOKENS_PATH, "GET")
    assert totals == {"tokens": {"anonymous": [0, 2]}, "unsent_reports": 0}


@pytest.mark.parametrize("path", [CUT_PATH, f"{CUT_PATH}/", f"{CUT_PATH}/{TOKEN}0", f"{CUT_PATH}/{TOKEN[:-1]}é"])
@scenario
async def test_only_who_knows_the_token_can_cut(path: str) -> None:
    middleware = Middleware(until_the_client_leaves(STREAM, body(EVENT)))
    run = await begin(middleware, messages=2)
    assert (await ask(middleware, path)).got[0]["status"] == 404
    assert len(run.client.got) == 2
    await cut(middleware)
    await run.ended()


@scenario
async def test_looking_cuts_nothing() -> None:
    middleware = Middleware(until_the_client_leaves())
    assert (await ask(middleware, f"{CUT_PATH}/{TOKEN}", method="GET")).got[0]["status"] == 405
    assert await nobody_is_in_flight(middleware)


@pytest.mark.parametrize("path", [f"{CUT_PATH}/", f"{CUT_PATH}/{TOKEN}"])
@scenario
async def test_without_a_token_nobody_can_cut(path: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(CUT_TOKEN_ENV)
        middleware = Middleware(until_the_client_leaves())
    assert (await ask(middleware, path)).got[0]["status"] == 404
