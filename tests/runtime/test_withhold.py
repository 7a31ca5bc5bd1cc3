import json
from collections.abc import Coroutine
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.server.asgi import Message, Receive, Scope, Send
from gptoss_runtime.server.withhold import MAX_WITHHELD_BYTES, WithholdHead


HTTP: Scope = {"type": "http"}
STREAM = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-request-id", b"7")]
CREATED = b'event: response.created\ndata: {"type":"response.created","response":{"error":null}}\n\n'
BUSY = {"message": "queue is full", "type": "ServiceUnavailable", "code": 503}


def head(status: int = 200, headers: list[tuple[bytes, bytes]] | None = None) -> Message:
    return {"type": "http.response.start", "status": status, "headers": STREAM if headers is None else headers}


def body(data: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def error_event(error: object) -> bytes:
    return b"data: " + json.dumps({"error": error}).encode() + b"\n\n"


async def never() -> Message:
    raise AssertionError("nobody asked for the request's body")


def finish(coroutine: Coroutine[None, None, None]) -> None:
    """Run to the end without an event loop: the middleware itself has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise AssertionError("it waited for something")


def passed(messages: list[Message], scope: Scope = HTTP) -> list[list[Message]]:
    """Return what the client gets after each of the application's messages, and after its end."""
    got: list[list[Message]] = []
    out: list[Message] = []

    async def send(message: Message) -> None:
        out.append(message)

    async def app(_: Scope, __: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
            got.append(list(out))

    finish(WithholdHead(app)(scope, never, send))
    got.append(list(out))
    return got


def body_of(messages: list[Message]) -> bytes:
    return b"".join(message.get("body", b"") for message in messages)


def test_the_head_of_a_stream_comes_with_its_first_event() -> None:
    first = body(b"data: 1\n\n")
    assert passed([head(), body(b""), first]) == [[], [], [head(), first], [head(), first]]


def test_later_events_pass_at_once_and_unchanged() -> None:
    messages = [head(), body(b"data: 1\n\n"), body(error_event(BUSY)), body(b"half"), body(b"", more=False)]
    assert passed(messages)[-1] == messages


def test_announcements_of_the_responses_api_are_held_with_the_head() -> None:
    delta = b"event: response.output_item.added\ndata: {}\n\n"
    after = passed([head(), body(CREATED), body(CREATED.replace(b"created", b"in_progress")), body(delta)])
    assert after[2] == []
    assert after[3][0] == head()
    assert body_of(after[3]) == CREATED + CREATED.replace(b"created", b"in_progress") + delta


@pytest.mark.parametrize("code", [400, 429, 500, 503, 599])
@pytest.mark.parametrize("before", [b"", CREATED])
def test_a_first_event_with_an_error_becomes_that_answer(code: int, before: bytes) -> None:
    error = {**BUSY, "code": code}
    messages = [head(), body(before), body(error_event(error)), body(b"data: [DONE]\n\n"), body(b"", more=False)]
    start, answer = passed(messages)[-1]
    assert (start["status"], answer["more_body"]) == (code, False)
    assert json.loads(answer["body"]) == {"error": error}
    headers = dict(start["headers"])
    assert headers == {
        b"x-request-id": b"7",
        b"content-type": b"application/json",
        b"content-length": str(len(answer["body"])).encode(),
    }


def test_an_error_split_over_chunks_is_recognised() -> None:
    event = error_event(BUSY)
    after = passed([head(), body(event[:9]), body(event[9:-1]), body(event[-1:])])
    assert after[2] == []
    assert after[3][0]["status"] == 503


@pytest.mark.parametrize(
    "event",
    [
        error_event({"message": "no code"}),
        error_event({"code": 200}),
        error_event({"code": "503"}),
        error_event(None),
        b'data: {"error": broken\n\n',
        b'data: ["error"]\n\n',
        b'data: {"choices":[{"delta":{"content":"\\"error\\""}}]}\n\n',
    ],
)
def test_anything_else_that_looks_like_an_error_stays_a_stream(event: bytes) -> None:
    assert passed([head(), body(event)])[-1] == [head(), body(event)]


@pytest.mark.parametrize(
    "first",
    [
        head(headers=[(b"content-type", b"application/json")]),
        head(headers=[]),
        head(status=400),
    ],
)
def test_what_is_no_stream_is_not_delayed(first: Message) -> None:
    messages = [first, body(error_event(BUSY), more=False)]
    assert passed(messages) == [messages[:1], messages, messages]


def test_a_stream_that_ends_without_an_event_still_ends() -> None:
    assert passed([head(), body(b"", more=False)])[-1] == [head(), body(b"", more=False)]
    assert passed([head(), body(b"no event", more=False)])[-1] == [head(), body(b"no event", more=False)]
    assert passed([head()])[-1] == [head()]


def test_never_more_than_the_limit_is_held() -> None:
    half = b"x" * (MAX_WITHHELD_BYTES // 2 + 1)
    after = passed([head(), body(half), body(half)])
    assert after[1] == []
    assert body_of(after[2]) == half + half


def test_other_messages_release_what_is_held() -> None:
    other = {"type": "http.response.trailers", "headers": []}
    assert passed([head(), body(CREATED), other])[-1] == [head(), body(CREATED), other]


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
def test_other_protocols_are_not_touched(kind: str) -> None:
    seen: list[Any] = []

    async def send(_: Message) -> None:
        raise AssertionError

    async def app(*arguments: Any) -> None:  # noqa: ANN401
        seen.extend(arguments)

    scope = {"type": kind}
    finish(WithholdHead(app)(scope, never, send))
    assert seen == [scope, never, send]


def test_after_an_exception_the_head_is_not_sent_so_that_a_500_can_be() -> None:
    out: list[Message] = []

    async def send(message: Message) -> None:
        out.append(message)

    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send(head())
        raise RuntimeError("before the first token")

    with pytest.raises(RuntimeError):
        finish(WithholdHead(app)(HTTP, never, send))
    assert out == []


def test_the_client_is_heard_directly() -> None:
    async def app(_: Scope, receive: Receive, __: Send) -> None:
        assert await receive() == {"type": "http.disconnect"}

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        raise AssertionError

    finish(WithholdHead(app)(HTTP, receive, send))


CHUNKS = st.lists(
    st.one_of(
        st.sampled_from(
            [b"", b"data: 1\n\n", b"data: 1\r\n\r\n", CREATED, b"data: [DONE]\n\n", b": comment\n\n", b"\n"]
        ),
        st.binary(max_size=20),
    ),
    max_size=8,
)


@given(CHUNKS, st.sampled_from([200, 201, 404]), st.booleans())
def test_without_an_error_the_client_gets_the_same_bytes_in_order(
    chunks: list[bytes],
    status: int,
    ended: bool,  # noqa: FBT001 - hypothesis
) -> None:
    messages = [head(status), *(body(chunk) for chunk in chunks), *([body(b"", more=False)] if ended else [])]
    out = passed(messages)[-1]
    assert out[0] == head(status)
    assert [message["type"] for message in out[1:]] == ["http.response.body"] * (len(out) - 1)
    assert body_of(out) == b"".join(chunks)
    assert any(not message["more_body"] for message in out[1:]) is ended


LOST = {
    "message": "EngineCore encountered an issue. See stack trace (above).",
    "type": "InternalServerError",
    "code": 500,
}


def test_a_request_whose_engine_is_lost_may_be_sent_elsewhere() -> None:
    document = json.dumps({"error": LOST}).encode()
    plain = passed([head(500, [(b"content-type", b"application/json")]), body(document, more=False)])[-1]
    streamed = passed([head(), body(error_event(LOST))])[-1]
    for start, answer in (plain, streamed):
        assert start["status"] == 503
        assert json.loads(answer["body"])["error"] == LOST


def test_any_other_failure_is_passed_on_as_it_is() -> None:
    messages = [head(500, [(b"content-type", b"application/json")]), body(b'{"error":{}}', more=False)]
    assert passed(messages)[-1] == messages


@given(CHUNKS, st.integers(min_value=0))
def test_once_content_came_nothing_is_held_back(chunks: list[bytes], cut: int) -> None:
    messages = [head(), body(b"data: 1\n\n"), *(body(chunk) for chunk in chunks)]
    count = 2 + cut % (len(chunks) + 1)
    assert passed(messages)[count - 1] == messages[:count]


@given(st.integers(400, 599), CHUNKS, st.lists(st.integers(1, 60), max_size=3))
def test_an_error_first_is_one_whole_answer_however_it_is_cut(code: int, rest: list[bytes], cuts: list[int]) -> None:
    event = error_event({**BUSY, "code": code})
    edges = [0, *sorted({min(cut, len(event) - 1) for cut in cuts}), len(event)]
    pieces = [event[a:b] for a, b in pairwise(edges)]
    start, answer = passed([head(), *(body(piece) for piece in [*pieces, *rest])])[-1]
    assert start["status"] == code
    assert json.loads(answer["body"])["error"]["code"] == code
    assert not answer["more_body"]
