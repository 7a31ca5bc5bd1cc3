"""What an answer of OpenAI's API says: its errors, its text, and whether it is complete. Pure."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec


_Place = tuple[object, ...]

JSON_TYPE = "application/json"
STREAM_TYPE = "text/event-stream"

_DONE = b"[DONE]"
_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LAST_EVENTS = ("response.completed", "response.incomplete")
"""Types of the last event of a stream of the Responses API that ended well."""
_BROKEN_OFF = ("abort", "error")
"""vLLM's finish reasons of an answer that another request would not get."""
_MAY_FAIL = re.compile(rb'"(?:error|abort)"')
_SAID = ("reasoning", "reasoning_content", "content", "refusal", "text", "name", "arguments", "input")
"""Fields of choices, messages, tool calls and output items that hold what the model wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeAnswer:
    """All of an answer of status 200. Of its headers only the type means anything to another client."""

    content_type: str
    body: bytes

    @property
    def is_stream(self) -> bool:
        """Whether these are server-sent events."""
        return is_stream(self.content_type)


def is_stream(content_type: str) -> bool:
    """Whether a content type is that of server-sent events."""
    return content_type.partition(";")[0].strip().lower() == STREAM_TYPE


def is_complete(answer: WholeAnswer) -> bool:
    """Whether an answer of status 200 is whole, so that the same request would be answered by it again.

    A stream that the gateway had to end for a lost replica looks well on the wire: it has an event with an error.
    Of a stream, only the events that may tell are read; to read all of a long one takes too much time.
    """
    try:
        if not answer.is_stream:
            document = _document(answer.body)
            return document.get("status", "completed") in {"completed", "incomplete"} and not _is_failure(document)
        blocks = _EVENT_END.split(answer.body.rstrip())
        suspects = (event for block in blocks if _MAY_FAIL.search(block) for event in _events(block))
        if any(_is_failure(_document(event)) for event in suspects):
            return False
        last = _events(blocks[-1])
        return bool(last) and (last[0] == _DONE or _document(last[0]).get("type") in _LAST_EVENTS)
    except ValueError:
        return False


def text_of(answer: WholeAnswer) -> str:
    """Return all that the model wrote in an answer: reasoning, content, and the arguments of tool calls.

    Takes up to a second for the longest. Raises ValueError when the answer cannot be read.
    """
    pieces: defaultdict[_Place, list[str]] = defaultdict(list)
    for event in _events(answer.body) if answer.is_stream else [answer.body]:
        if event == _DONE:
            continue
        document = _document(event)
        if document.get("type") in _LAST_EVENTS:
            # The Responses API says everything once more at the end.
            pieces.clear()
        for place, text in _pieces(document):
            pieces[place].append(text)
    return "\n".join("".join(texts) for texts in pieces.values())


def whole_events(body: bytes) -> bytes:
    """Return a stream that broke off without the event in which it did."""
    return body[: body.rfind(b"\n\n") + 2] if b"\n\n" in body else b""


def without_comments(body: bytes) -> bytes:
    """Return a stream without what only kept its connection open."""
    if not body.startswith(b":") and b"\n:" not in body:
        return body
    blocks = body.split(b"\n\n")
    return b"\n\n".join(block for block in blocks if not block or not all(map(_is_comment, block.split(b"\n"))))


def _is_comment(line: bytes) -> bool:
    return line.startswith(b":")


def _events(body: bytes) -> list[bytes]:
    """Return the data of each event in a stream, or in a part of one."""
    # Bytes, not text: JSON may have characters that end a line in a text, but not in a stream of events.
    found = []
    for block in _EVENT_END.split(body):
        lines = [line[5:].removeprefix(b" ") for line in block.splitlines() if line.startswith(b"data:")]
        if lines:
            found.append(b"\n".join(lines))
    return found


def _document(body: bytes) -> dict[str, Any]:
    """Return a body or an event as an object. Raises ValueError when it is none."""
    try:
        document = msgspec.json.decode(body)
    except RecursionError as error:
        raise ValueError("JSON too deep to be read") from error
    if not isinstance(document, dict):
        raise ValueError(f"a JSON object was expected, not {body[:40]!r}")  # noqa: TRY004 - the body is what is wrong
    return document


def _is_failure(document: dict[str, Any]) -> bool:
    return (
        bool(document.get("error"))
        or document.get("type") == "error"
        or any(choice.get("finish_reason") in _BROKEN_OFF for choice in _choices(document))
    )


def _choices(document: dict[str, Any]) -> list[dict[str, Any]]:
    choices = document.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def _pieces(document: dict[str, Any]) -> Iterator[tuple[_Place, str]]:
    """Return the texts of one document, each with its place: pieces of one text in a stream have the same."""
    kind, delta, response = document.get("type"), document.get("delta"), document.get("response")
    if isinstance(delta, str):
        yield (kind, document.get("output_index"), document.get("content_index")), delta
    elif kind in _LAST_EVENTS and isinstance(response, dict):
        yield from _said(response.get("output"), (kind,))
    else:
        yield from _said(document.get("choices"), ("choices",))
        yield from _said(document.get("output"), ("output",))


def _said(value: object, place: _Place) -> Iterator[tuple[_Place, str]]:
    if isinstance(value, list):
        for position, item in enumerate(value):
            # In a stream, choices and tool calls are told by their index, whatever their position in the list is.
            index = item.get("index", position) if isinstance(item, dict) else position
            yield from _said(item, (*place, index))
    elif isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(inner, str):
                yield from _said(inner, (*place, name))
            elif name in _SAID:
                yield (*place, name), inner
