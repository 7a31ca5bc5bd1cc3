"""What an answer of OpenAI's API says: its errors, its text, and whether it is complete. Pure."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


_Place = tuple[object, ...]

JSON_TYPE = "application/json"
STREAM_TYPE = "text/event-stream"

_DONE = "[DONE]"
_EVENT_END = re.compile(r"\r\n\r\n|\n\n|\r\r")
_LAST_EVENTS = ("response.completed", "response.incomplete")
"""Types of the last event of a stream of the Responses API that ended well."""
_BROKEN_OFF = ("abort", "error")
"""vLLM's finish reasons of an answer that another request would not get."""
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


def error_json(*, kind: str, code: str, message: str, param: str | None = None) -> bytes:
    """Return an error as OpenAI's clients expect it."""
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


def error_events(error: bytes) -> bytes:
    """Return the end of a stream that fails: an event with `error`, which is JSON, and the mark of the end."""
    return b"data: " + error + b"\n\ndata: [DONE]\n\n"


def documents(answer: WholeAnswer) -> Iterator[dict[str, Any]]:
    """Return the JSON objects of an answer: the only one, or one for each event.

    Raises ValueError when something in it is no JSON object.
    """
    for text in _events(answer.body) if answer.is_stream else [answer.body.decode()]:
        if text == _DONE:
            continue
        document = json.loads(text)
        if not isinstance(document, dict):
            raise ValueError(f"a JSON object was expected, not {text[:40]!r}")  # noqa: TRY004 - the text is what is wrong
        yield document


def is_complete(answer: WholeAnswer) -> bool:
    """Whether an answer of status 200 is whole, so that the same request would be answered by it again.

    A stream that the gateway had to end for a lost replica looks well on the wire: it has an event with an error.
    """
    try:
        parts = list(documents(answer))
        events = list(_events(answer.body)) if answer.is_stream else []
    except ValueError:
        return False
    if not parts or any(part.get("error") or part.get("type") == "error" for part in parts):
        return False
    if any(choice.get("finish_reason") in _BROKEN_OFF for part in parts for choice in _choices(part)):
        return False
    if answer.is_stream:
        return events[-1] == _DONE or parts[-1].get("type") in _LAST_EVENTS
    return parts[0].get("status", "completed") in {"completed", "incomplete"}


def text_of(answer: WholeAnswer) -> str:
    """Return all that the model wrote in an answer: reasoning, content, and the arguments of tool calls.

    Raises ValueError when the answer cannot be read.
    """
    pieces: dict[tuple[object, ...], str] = {}
    for document in documents(answer):
        if document.get("type") in _LAST_EVENTS:
            # The Responses API says everything once more at the end.
            pieces.clear()
        for place, text in _pieces(document):
            pieces[place] = pieces.get(place, "") + text
    return "\n".join(pieces.values())


def whole_events(body: bytes) -> bytes:
    """Return a stream that broke off without the event in which it did."""
    return body[: body.rfind(b"\n\n") + 2] if b"\n\n" in body else b""


def without_comments(body: bytes) -> bytes:
    """Return a stream without what only kept its connection open."""
    blocks = body.split(b"\n\n")
    return b"\n\n".join(block for block in blocks if not block or not all(map(_is_comment, block.split(b"\n"))))


def _is_comment(line: bytes) -> bool:
    return line.startswith(b":")


def _events(body: bytes) -> Iterator[str]:
    """Return the data of each event. Raises UnicodeDecodeError, which is a ValueError."""
    for block in _EVENT_END.split(body.decode()):
        lines = [line[5:].removeprefix(" ") for line in block.splitlines() if line.startswith("data:")]
        if lines:
            yield "\n".join(lines)


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
