"""One request of the corpus, and how the good ones look."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from e2e.gateway.local import MODEL


CHAT = b"/v1/chat/completions"
JSON = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}).encode()
"""A good body."""
CHUNKED = b"transfer-encoding: chunked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Bytes that a client sends on a connection of its own."""

    name: str
    data: bytes
    code: str | None = None
    """The error's `code`. None: HAProxy's parser says no, in whatever words, or closes."""
    half_close: bool = False
    """The client says right away that nothing more comes."""


def post(
    body: bytes = JSON,
    *headers: bytes,
    line: bytes = b"POST " + CHAT + b" HTTP/1.1",
    length: bytes | None = None,
    sized: bool = True,
) -> bytes:
    """Return a POST request that is good but for what is given. `length` overrides the value of content-length."""
    value = str(len(body)).encode() if length is None else length
    lengths = [b"content-length: " + value] if sized else []
    return b"\r\n".join([line, b"host: gateway", *lengths, *headers, b"", body])


def chunked(framing: bytes, *headers: bytes) -> bytes:
    """Return a POST request whose body is `framing`: chunks as they are on the wire."""
    return post(framing, CHUNKED, *headers, sized=False)


def chunk(data: bytes = JSON, extension: bytes = b"") -> bytes:
    """Return one good chunk."""
    return f"{len(data):x}".encode() + extension + b"\r\n" + data + b"\r\n"


LAST = b"0\r\n\r\n"


def document(**fields: Any) -> bytes:  # noqa: ANN401 - any JSON
    """Return a good body with some more fields."""
    return json.dumps({**json.loads(JSON), **fields}).encode()


def cases(prefix: str, data: Mapping[str, bytes], code: str | None = None) -> list[Case]:
    """Return one case for each entry."""
    return [Case(name=f"{prefix}: {name}", data=value, code=code) for name, value in data.items()]
