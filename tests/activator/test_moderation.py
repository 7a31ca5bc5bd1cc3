"""What the content filter reads, and what the moderation model's word means: pure."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.activator.detour.answer import WholeAnswer, text_of, whole_events
from gptoss_runtime.activator.detour.moderation import Verdict, read_judgement
from gptoss_runtime.activator.detour.words import Unreadable, main_field, read_object, text_of_request


def a_completion(content: str | None, **message: str) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content, **message}}]}).encode()


@pytest.mark.parametrize("content", ["0", " 0\n", "safe", "Safe.", "SAFE\nnothing", "0: fine", "0.", "0, fine"])
def test_allowed(content: str) -> None:
    assert read_judgement(200, a_completion(content)).verdict is Verdict.ALLOWED


@pytest.mark.parametrize(
    "content", ["1", "unsafe", "Unsafe\nS1", "I cannot say", "0.9", "01", "safety is violated", "not safe", '{"v": 0}']
)
def test_refused(content: str) -> None:
    assert read_judgement(200, a_completion(content)).verdict is Verdict.REFUSED


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, a_completion("0")),
        (404, b'{"error": {}}'),
        (200, a_completion(None, reasoning_content="0, this is safe")),
        (200, a_completion("  ", reasoning="safe")),
        (200, b""),
        (200, b"0"),
        (200, b"[]"),
        (200, b'{"choices": []}'),
        (200, b'{"choices": [{"message": null}]}'),
        (200, b"\xff"),
    ],
)
def test_no_verdict(status: int, body: bytes) -> None:
    assert read_judgement(status, body).verdict is Verdict.FAILED


@given(status=st.integers(100, 599), body=st.binary())
def test_noise_is_never_allowed(status: int, body: bytes) -> None:
    assert read_judgement(status, body).verdict is not Verdict.ALLOWED


REQUESTS: list[tuple[dict[str, Any], str, list[str]]] = [
    (
        {"messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": [{"type": "text", "text": "part one"}, {"type": "text", "text": "part two"}]},
            {"role": "assistant", "tool_calls": [{"function": {"name": "look", "arguments": '{"at": "this"}'}}]},
            {"role": "tool", "content": "result"},
        ]},
        "messages",
        ["be kind", "part one", "part two", "look", '{"at": "this"}', "result"],
    ),
    ({"prompt": "once upon"}, "prompt", ["once upon"]),
    ({"prompt": ["one", "two"], "suffix": "the end"}, "prompt", ["one", "two", "the end"]),
    ({"input": "hello", "instructions": "be brief"}, "input", ["hello", "be brief"]),
    (
        {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}]},
        "input",
        ["hi"],
    ),
    (
        {"messages": [], "tools": [{"function": {"parameters": {"properties": {"a hidden word": {}}}}}]},
        "messages",
        ["a hidden word"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("document", "param", "words"), REQUESTS)
def test_everything_that_a_model_may_read_is_judged(document: dict[str, Any], param: str, words: list[str]) -> None:
    text = text_of_request({"model": "m", "temperature": 0, **document})
    assert [word for word in words if word not in text] == []
    assert main_field(document) == param
    assert {"text", "input_text", "message"}.isdisjoint(text.splitlines())


@pytest.mark.parametrize(
    "document",
    [
        {"prompt": [1, 2, 3]},
        {"prompt": [[1, 2], [3]]},
        {"prompt": ["a", [1]]},
        {"prompt": 7},
        {"prompt_embeds": "AAAA"},
    ],
)
def test_a_prompt_that_is_no_text_is_not_overlooked(document: dict[str, Any]) -> None:
    with pytest.raises(Unreadable, match="send text"):
        text_of_request(document)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'"x"', b"{", "{}".encode("utf-16"), b'{"a":"\xff"}', b"[" * 100_000, b"\xef\xbb\xbf{}"]
)
def test_what_is_no_json_object_in_utf_8(body: bytes) -> None:
    assert read_object(body) is None


def an_answer(*documents: dict[str, Any], stream: bool) -> WholeAnswer:
    if not stream:
        return WholeAnswer(content_type="application/json", body=json.dumps(documents[0]).encode())
    body = "".join(f"data: {json.dumps(document)}\n\n" for document in documents)
    return WholeAnswer(content_type="text/event-stream", body=f": hello\n\n{body}data: [DONE]\n\n".encode())


def test_the_text_of_a_chat_completion() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "do", "arguments": '{"x":1}'}}
    message = {"role": "assistant", "reasoning": "hm", "content": "four", "tool_calls": [call]}
    answer = an_answer({"model": "m", "choices": [{"index": 0, "message": message}]}, stream=False)
    assert text_of(answer) == 'hm\nfour\ndo\n{"x":1}'


def test_the_pieces_of_a_stream_come_together_by_choice() -> None:
    def piece(index: int, **delta: Any) -> dict[str, Any]:  # noqa: ANN401 - a JSON value
        return {"choices": [{"index": index, "delta": delta}]}

    answer = an_answer(
        piece(0, role="assistant", content=""),
        piece(0, content="for"),
        piece(1, content="all"),
        piece(0, content="bidden"),
        piece(1, content="owed"),
        piece(1, tool_calls=[{"index": 0, "function": {"name": "f", "arguments": "{"}}]),
        piece(1, tool_calls=[{"index": 0, "function": {"arguments": "}"}}]),
        {"choices": [], "usage": {"total_tokens": 3}},
        stream=True,
    )
    assert text_of(answer).split("\n") == ["forbidden", "allowed", "f", "{}"]


def test_the_text_of_a_stream_of_the_responses_api() -> None:
    def delta(text: str, kind: str = "response.output_text.delta") -> dict[str, Any]:
        return {"type": kind, "output_index": 1, "content_index": 0, "delta": text}

    pieces = [delta("hm", "response.reasoning_text.delta"), delta("for"), delta("bidden")]
    assert text_of(an_answer(*pieces, stream=True)) == "hm\nforbidden"
    output = [{"type": "message", "content": [{"type": "output_text", "text": "whole"}]}]
    last = {"type": "response.completed", "response": {"instructions": "not said", "output": output}}
    assert text_of(an_answer(*pieces, last, stream=True)) == "whole"
    assert text_of(an_answer({"instructions": "not said", "output": output}, stream=False)) == "whole"


def test_lines_end_where_those_of_a_stream_do() -> None:
    body = 'data: {"choices":[{"index":0,"delta":{"content":"one\u2028two\x85three"}}]}\r\n\r\ndata: [DONE]\r\n\r\n'
    answer = WholeAnswer(content_type="text/event-stream", body=body.encode())
    assert text_of(answer) == "one\u2028two\x85three"


def test_an_answer_that_cannot_be_read_says_so() -> None:
    with pytest.raises(ValueError, match="JSON object was expected"):
        text_of(WholeAnswer(content_type="application/json", body=b"[1]"))


def test_a_stream_that_broke_off_is_cut_behind_its_last_event() -> None:
    assert whole_events(b'data: {"a":1}\n\ndata: {"b"') == b'data: {"a":1}\n\n'
    assert whole_events(b'data: {"b"') == b""
