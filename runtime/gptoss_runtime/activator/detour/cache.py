"""Answers that are kept and given again: to the same tenant, for exactly the same request. Pure, with a given clock.

Only for requests that the same model answers alike each time; the user chose that with `temperature` 0 or a `seed`.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gptoss_runtime.activator.detour.answer import JSON_TYPE, STREAM_TYPE, WholeAnswer, is_complete, without_comments


API_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
LARGEST_SHARE = 16
"""An answer may take this part of the cache: one sixteenth."""
ENTRY_BYTES = 512
"""What an entry takes beside its body: key, type, and places in tables."""

_OK = 200
_STATE = ("store", "background", "previous_response_id", "conversation")
"""Fields of a request that changes something on the server, or depends on what another one changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """Whether a request may be answered from the cache."""

    key: bytes | None
    """Its key; None: the cache has no part in it."""
    reason: str


def judge_request(
    *, method: str, target: str, headers: Mapping[str, str], tenant: str, document: dict[str, Any] | None
) -> Lookup:
    """Return the key of a request whose answer may be kept, or why there is none.

    `target` is the path with its query. `document` is the body; None where it is no JSON object. The key is a hash of
    tenant, path and body, so nobody gets what another tenant was answered.
    """
    try:
        reason = _why_not(method, target, headers, document)
        canonical = msgspec.json.encode(document, order="sorted")
    except RecursionError:
        reason, canonical = "the body is too deep", b""
    if reason is not None:
        return Lookup(key=None, reason=reason)
    asked = f"{tenant}\0{target}\0".encode(errors="surrogateescape") + canonical
    return Lookup(key=hashlib.sha256(asked).digest(), reason="the request is deterministic")


def _why_not(method: str, target: str, headers: Mapping[str, str], document: dict[str, Any] | None) -> str | None:
    asked = document or {}
    wish = headers.get("cache-control", "").lower()
    obstacles = (
        (method != "POST" or target not in API_PATHS, f"{method} {target} asks for no answer of the model"),
        ("no-cache" in wish or "no-store" in wish, "the client asks for a new answer"),
        (document is None, "the body is no JSON object"),
        # A seed of `true` is none, although it is an int to Python.
        (asked.get("temperature") != 0 and type(asked.get("seed")) is not int, "temperature is not 0, and no seed"),
        (asked.get("n") not in (None, 1), "n is not 1"),
        (any(asked.get(name) for name in _STATE), f"one of {', '.join(_STATE)} is set"),
        (any(_runs_on_the_server(tool) for tool in _list(asked.get("tools"))), "it has a tool that the server runs"),
    )
    return next((reason for in_the_way, reason in obstacles if in_the_way), None)


def _runs_on_the_server(tool: object) -> bool:
    return not isinstance(tool, dict) or tool.get("type") != "function"


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def to_keep(status: int, headers: Mapping[str, str], body: bytes) -> WholeAnswer | None:
    """Return what another client may be answered, or None if it must ask for itself.

    `body` is that of an answer which came to its end as HTTP has it. Of the headers only the type is kept.
    """
    content_type = headers.get("content-type", "")
    if status != _OK or "content-encoding" in headers:
        return None
    if content_type.partition(";")[0].strip().lower() not in {JSON_TYPE, STREAM_TYPE}:
        return None
    answer = WholeAnswer(content_type=content_type, body=body)
    if not is_complete(answer):
        return None
    if answer.is_stream:
        return WholeAnswer(content_type=content_type, body=without_comments(body))
    return answer


class AnswerCache:
    """Keeps answers in a given number of bytes: the least recently used go first, and each after its time."""

    def __init__(self, *, capacity_bytes: int, ttl_seconds: float, clock: Callable[[], float]) -> None:
        """Take a clock that never goes back, in seconds."""
        self._capacity_bytes = capacity_bytes
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[float, WholeAnswer]] = OrderedDict()
        self._used_bytes = 0

    @property
    def used_bytes(self) -> int:
        """Bytes of all entries; at most the capacity."""
        return self._used_bytes

    @property
    def largest_bytes(self) -> int:
        """The largest body that is kept."""
        return max(self._capacity_bytes // LARGEST_SHARE - ENTRY_BYTES, 0)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes) -> WholeAnswer | None:
        """Return what is kept under a key."""
        found = self._kept.get(key)
        if found is None:
            return None
        expires, answer = found
        if self._clock() >= expires:
            self._forget(key)
            return None
        self._kept.move_to_end(key)
        return answer

    def put(self, key: bytes, answer: WholeAnswer) -> bool:
        """Keep an answer; False if it is too large."""
        if len(answer.body) > self.largest_bytes:
            return False
        if key in self._kept:
            self._forget(key)
        self._kept[key] = (self._clock() + self._ttl_seconds, answer)
        self._used_bytes += _size(answer)
        while self._used_bytes > self._capacity_bytes:
            self._forget(next(iter(self._kept)))
        return True

    def _forget(self, key: bytes) -> None:
        _, answer = self._kept.pop(key)
        self._used_bytes -= _size(answer)


def _size(answer: WholeAnswer) -> int:
    return len(answer.body) + ENTRY_BYTES
