"""Server-sent events that the gateway itself puts into a stream."""

import json

from gptoss_runtime.openai_errors import error_event, error_json


LARGEST_ERROR_BYTES = 64 * 1024
"""An error body beyond this is not taken over."""
_END = b"data: [DONE]\n\n"


def comment(text: str) -> bytes:
    """Return a comment: clients drop it, and it keeps the connection open."""
    return f": {text}\n\n".encode()


def error_end(error: bytes) -> bytes:
    """Return the end of a stream that fails: an event with `error`, JSON on one line, and the mark of the end."""
    return error_event(error) + _END


def error_end_of(body: bytes, status: int) -> bytes:
    """Return the end of a stream that a replica answered with `status` and `body`.

    Where the body is no error of OpenAI's API, one is made.
    """
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict) or "error" not in document:
        return error_end(error_json("server_error", "replica_failed", f"The replica answered {status}.").encode())
    # Written anew, because an event must not have empty lines.
    return error_end(json.dumps(document, separators=(",", ":")).encode())
