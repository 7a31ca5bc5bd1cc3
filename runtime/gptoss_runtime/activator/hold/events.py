"""Server-sent events that the gateway itself puts into a stream."""

import json


LARGEST_ERROR_BYTES = 64 * 1024
"""An error body beyond this is not taken over."""


def comment(text: str) -> bytes:
    """Return a comment: clients drop it, and it keeps the connection open."""
    return f": {text}\n\n".encode()


def error_end(body: bytes, status: int) -> bytes:
    """Return the end of a stream that failed: OpenAI's error, and the event that ends every stream.

    `body` is what the replica answered with `status`; where it is no error of OpenAI's API, one is made.
    """
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict) or "error" not in document:
        message = f"The replica answered {status}."
        error = {"message": message, "type": "server_error", "param": None, "code": "replica_failed"}
        document = {"error": error}
    # Written anew, because an event must not have empty lines.
    return f"data: {json.dumps(document, separators=(',', ':'))}\n\ndata: [DONE]\n\n".encode()
