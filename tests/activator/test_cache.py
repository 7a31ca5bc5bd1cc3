"""The cache and its rules: pure, with a clock of the test's own."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gptoss_runtime.activator.detour.answer import WholeAnswer, is_complete, without_comments
from gptoss_runtime.activator.detour.cache import ENTRY_BYTES, AnswerCache, Lookup, judge_request, to_keep


CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream; charset=utf-8"}
A_COMPLETION = json.dumps({"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}]}).encode()
A_STREAM = b'data: {"choices":[{"delta":{"content":"4"}}]}\n\ndata: [DONE]\n\n'


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def a_request(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - a JSON value
    return {"model": "m", "messages": [{"role": "user", "content": "2+2?"}], "temperature": 0, **changes}


def looked_up(document: dict[str, Any] | None, *, tenant: str = "a", target: str = CHAT, **headers: str) -> Lookup:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return judge_request(method="POST", target=target, headers=named, tenant=tenant, document=document)


@pytest.mark.parametrize(
    "changes",
    [{}, {"temperature": 0.0}, {"temperature": 1, "seed": 7}, {"temperature": None, "seed": 0}, {"n": 1}, {"n": None},
     {"store": False, "background": None}, {"tools": [{"type": "function", "function": {"name": "f"}}]}],
)  # fmt: skip
def test_deterministic_requests_have_a_key(changes: dict[str, Any]) -> None:
    assert looked_up(a_request(**changes)).key is not None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"temperature": 0.1}, "temperature is not 0, and no seed"),
        ({"temperature": None}, "temperature is not 0, and no seed"),
        ({"temperature": "0"}, "temperature is not 0, and no seed"),
        ({"temperature": 1, "seed": True}, "temperature is not 0, and no seed"),
        ({"temperature": 1, "seed": 1.5}, "temperature is not 0, and no seed"),
        ({"n": 2}, "n is not 1"),
        ({"n": [1]}, "n is not 1"),
        ({"store": True}, "is set"),
        ({"previous_response_id": "resp_1"}, "is set"),
        ({"tools": [{"type": "web_search"}]}, "it has a tool that the server runs"),
    ],
)
def test_other_requests_have_none(changes: dict[str, Any], reason: str) -> None:
    lookup = looked_up(a_request(**changes))
    assert lookup.key is None
    assert reason in lookup.reason


def test_a_client_may_ask_for_a_new_answer() -> None:
    assert looked_up(a_request(), cache_control="no-cache") == Lookup(
        key=None, reason="the client asks for a new answer"
    )
    assert looked_up(a_request(), cache_control="max-age=0, No-Store").key is None


def test_only_answers_of_the_model_are_looked_up() -> None:
    assert looked_up(a_request(), target="/v1/models").key is None
    assert looked_up(a_request(), target=f"{CHAT}?x=1").key is None
    assert looked_up(None) == Lookup(key=None, reason="the body is no JSON object")
    get = judge_request(method="GET", target=CHAT, headers={}, tenant="a", document=a_request())
    assert get.key is None


def test_a_body_that_is_too_deep_is_not_looked_up() -> None:
    deep: dict[str, Any] = {}
    for _ in range(200_000):
        deep = {"a": deep}
    assert looked_up(a_request(messages=deep)) == Lookup(key=None, reason="the body is too deep")


def test_the_order_of_names_is_no_difference_and_everything_else_is() -> None:
    document = a_request()
    assert looked_up(document).key == looked_up(dict(reversed(document.items()))).key
    others = [a_request(stream=True), a_request(temperature=0.0), a_request(user="x"), a_request(model="n")]
    keys = {looked_up(other).key for other in (document, *others)}
    assert len(keys) == 5
    assert looked_up(document, target="/v1/completions").key != looked_up(document).key


@given(tenants=st.lists(st.text(), min_size=2, max_size=2, unique=True), document=st.dictionaries(st.text(), st.text()))
def test_tenants_never_share_a_key(tenants: list[str], document: dict[str, str]) -> None:
    first, second = (looked_up({**document, "temperature": 0, "n": 1}, tenant=tenant).key for tenant in tenants)
    assert first is None or first != second


def test_whole_answers_are_kept_with_their_type_alone() -> None:
    kept = to_keep(200, {**JSON, "x-request-id": "secret"}, A_COMPLETION)
    assert kept == WholeAnswer(content_type="application/json", body=A_COMPLETION)
    assert to_keep(200, EVENTS, A_STREAM) == WholeAnswer(content_type=EVENTS["content-type"], body=A_STREAM)


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (400, JSON, A_COMPLETION),
        (200, {}, A_COMPLETION),
        (200, {**JSON, "content-encoding": "gzip"}, A_COMPLETION),
        (200, JSON, A_COMPLETION[:-1]),
        (200, JSON, b"[]"),
        (200, JSON, b"\xff"),
        (200, JSON, b'{"error": {"message": "no"}}'),
        (200, JSON, b'{"choices": [{"finish_reason": "abort"}]}'),
        (200, JSON, b'{"status": "failed", "output": []}'),
        (200, EVENTS, b""),
        (200, EVENTS, A_STREAM.removesuffix(b"data: [DONE]\n\n")),
        (200, EVENTS, b'data: {"choices": []}\n\ndata: {"error": {"message": "lost"}}\n\ndata: [DONE]\n\n'),
        (200, EVENTS, b'data: {"type": "error", "message": "lost"}\n\ndata: [DONE]\n\n'),
        (200, EVENTS, b'event: response.created\ndata: {"type":"response.created"}\n\n'),
    ],
)
def test_errors_and_parts_are_not_kept(status: int, headers: dict[str, str], body: bytes) -> None:
    assert to_keep(status, headers, body) is None


def test_a_stream_of_the_responses_api_ends_with_its_last_event() -> None:
    body = b'event: response.completed\ndata: {"type":"response.completed","response":{"error":null}}\n\n'
    assert is_complete(WholeAnswer(content_type="text/event-stream", body=body))


def test_comments_are_not_kept() -> None:
    stream = b": no replica is ready yet\n\n" + A_STREAM.replace(b"data: [", b": half a minute\n\ndata: [")
    assert to_keep(200, EVENTS, stream) == WholeAnswer(content_type=EVENTS["content-type"], body=A_STREAM)
    assert without_comments(A_STREAM) == A_STREAM


def an_answer(size: int, fill: bytes = b"x") -> WholeAnswer:
    return WholeAnswer(content_type="application/json", body=fill * size)


def test_an_answer_is_given_until_its_time_is_up() -> None:
    clock = Clock()
    cache = AnswerCache(capacity_bytes=100_000, ttl_seconds=10, clock=clock)
    assert cache.put(b"k", an_answer(10))
    clock.seconds = 9.9
    assert cache.get(b"k") == an_answer(10)
    clock.seconds = 10
    assert cache.get(b"k") is None
    assert (len(cache), cache.used_bytes) == (0, 0)


def test_the_least_recently_used_goes_first() -> None:
    cache = AnswerCache(capacity_bytes=16 * 1000, ttl_seconds=10, clock=Clock())
    size = cache.largest_bytes
    for name in range(16):
        assert cache.put(bytes([name]), an_answer(size))
    cache.get(bytes([0]))
    cache.put(b"new", an_answer(size))
    assert cache.get(bytes([0])) is not None
    assert cache.get(bytes([1])) is None
    assert cache.used_bytes == 16 * (size + ENTRY_BYTES)


def test_an_answer_that_is_too_large_is_not_kept() -> None:
    cache = AnswerCache(capacity_bytes=16 * 1000, ttl_seconds=10, clock=Clock())
    assert not cache.put(b"k", an_answer(cache.largest_bytes + 1))
    assert len(cache) == 0


@given(
    # So small that a few answers fill it.
    capacity=st.integers(0, 12_000),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["put", "put", "get", "wait"]), st.binary(min_size=1, max_size=1), st.integers(0, 250)
        ),
        max_size=60,
    ),
)
@example(capacity=9000, steps=[("put", bytes([number]), 50) for number in range(20)])
def test_the_cache_never_takes_more_than_its_bytes_and_gives_what_was_kept(
    capacity: int, steps: list[tuple[str, bytes, int]]
) -> None:
    clock = Clock()
    cache = AnswerCache(capacity_bytes=capacity, ttl_seconds=1000, clock=clock)
    kept: dict[bytes, tuple[float, WholeAnswer]] = {}
    for step, key, number in steps:
        if step == "put" and cache.put(key, an_answer(number, key)):
            kept[key] = (clock.seconds, an_answer(number, key))
        elif step == "get" and (found := cache.get(key)) is not None:
            at, answer = kept[key]
            assert found == answer
            assert clock.seconds < at + 1000
        elif step == "wait":
            clock.seconds += number * 10
        assert cache.used_bytes <= capacity
        assert cache.used_bytes >= len(cache) * ENTRY_BYTES
