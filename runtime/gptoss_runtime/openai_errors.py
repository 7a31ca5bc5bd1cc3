"""An error as OpenAI's API says it and OpenAI's clients expect it. Standard library only."""

import json


def error_json(kind: str, code: str, message: str, param: str | None = None) -> str:
    """Return the JSON of an error; `kind` is its `type`, and `param` the field that is wrong."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return json.dumps({"error": error}, separators=(",", ":"))


def error_event(error: bytes) -> bytes:
    """Return the event by which a stream says that it fails; `error` is JSON on one line."""
    return b"data: " + error + b"\n\n"
