"""What an answer of the API server that is no success means."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from gptoss_operator.errors import Conflict, KubernetesError, NotFound, Refused, Unavailable


def translate(what: str, status: int, body: bytes, headers: Mapping[str, str]) -> KubernetesError:
    """Return the error that stands for an HTTP `status` of the API server, with the server's own words."""
    message = f"{what}: {_message(body) or 'the API server gave no reason'} ({status})"
    match status:
        case HTTPStatus.NOT_FOUND:
            return NotFound(message)
        case HTTPStatus.CONFLICT | HTTPStatus.GONE:
            return Conflict(message)
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.REQUEST_TIMEOUT | HTTPStatus.TOO_MANY_REQUESTS:
            # Unauthorized passes by itself when a token has just been renewed.
            return Unavailable(message, retry_after_seconds=_retry_after(headers))
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Unavailable(message, retry_after_seconds=_retry_after(headers))
        case _:
            return Refused(message)


def _message(body: bytes) -> str:
    """Return the message of a Status object, or the text itself where a proxy answered instead of the API server."""
    try:
        decoded = json.loads(body)
    except ValueError:
        return body[:200].decode(errors="replace").strip()
    return str(decoded.get("message", "")) if isinstance(decoded, dict) else ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header. The API server never sends a date."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None
