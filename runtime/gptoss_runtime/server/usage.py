"""How many tokens a request took, as far as vLLM says it. Pure, standard library only.

vLLM 0.32 leaves the count of a chat or completion in the request's state, for middleware to find, whether or not the
client asked for it. So the answer need not be read, and nothing has to be added to it and taken out again: vLLM's
`--enable-force-include-usage` would put the count into every single chunk. The Responses API does not leave it there;
but its answers always end with it.
"""

import json
from dataclasses import dataclass

from gptoss_runtime.server.asgi import Scope


BYTES_PER_TOKEN = 4
"""Of a prompt as JSON, roughly; for English text it is a little more."""

_RESPONSES_PATH = "/v1/responses"
_KEY = b'"usage":{'
_TAIL_BYTES = 256 * 1024
"""The count is near the end of an answer; further away than this it is not looked for."""
_OBJECT_BYTES = 16 * 1024
"""Longer than any `usage` object, which has two numbers for each turn."""
_MAX_CANDIDATES = 8
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What one request took."""

    prompt: int
    generation: int


def tokens_of(scope: Scope, last_body: bytes) -> Tokens | None:
    """Return what vLLM says of a request whose last part of an answer was `last_body`; None when it says nothing."""
    metadata = scope.get("state", {}).get("request_metadata")
    said = getattr(metadata, "final_usage_info", None)
    if said is not None:
        return _checked(getattr(said, "prompt_tokens", None), getattr(said, "completion_tokens", None))
    return tokens_in(last_body) if scope["path"] == _RESPONSES_PATH else None


def tokens_in(body: bytes) -> Tokens | None:
    """Return the last count in an answer of the Responses API; None when there is none.

    Text that the model or the client wrote cannot be taken for it: in a JSON string, quotes are escaped. An object in
    the description of a tool might have the same key, but not the same fields.
    """
    tail = body[-_TAIL_BYTES:]
    end = len(tail)
    for _ in range(_MAX_CANDIDATES):
        end = tail.rfind(_KEY, 0, end)
        if end < 0:
            return None
        start = end + len(_KEY) - 1
        tokens = _parsed(tail[start : start + _OBJECT_BYTES])
        if tokens is not None:
            return tokens
    return None


def least_tokens(content_length: str, events: int) -> Tokens:
    """Return what a stream has taken that broke off after `events` events.

    vLLM does not tell it then, so it is estimated: a token for each event, and the prompt by its size. A client that
    hangs up before the end would otherwise never use up what it may.
    """
    length = int(content_length) if content_length.isdecimal() else 0
    return Tokens(prompt=length // BYTES_PER_TOKEN, generation=events)


def _parsed(text: bytes) -> Tokens | None:
    try:
        usage, _ = _DECODER.raw_decode(text.decode(errors="replace"))
    except ValueError:
        return None
    return _checked(usage.get("input_tokens"), usage.get("output_tokens"))


def _checked(prompt: object, generation: object) -> Tokens | None:
    if not isinstance(prompt, int) or not isinstance(generation, int):
        return None
    return Tokens(prompt=prompt, generation=generation)
