"""What HAProxy answers by itself, in the shape that OpenAI's clients expect."""

from collections.abc import Iterator

from gptoss_operator.core.render.haproxy.places import Places
from gptoss_runtime.gateway_contract import Header
from gptoss_runtime.openai_errors import error_json


RETRY_AFTER_SECONDS = {429: 1, 503: 5}

BY_STATUS = {
    400: ("invalid_request_error", "bad_request", "the request is not valid HTTP"),
    500: ("server_error", "internal_error", "the gateway failed"),
    502: ("server_error", "bad_gateway", "the replica broke off before it answered"),
    504: ("server_error", "gateway_timeout", "the replica did not answer in time"),
}
"""Type, code and message of what HAProxy says where no rule of ours did."""

QUEUE_TIMEOUT = "sQ"
"""HAProxy's termination state of a request that waited too long for a place."""
ENDINGS_FILE = "endings.map"
ENDINGS = f"{QUEUE_TIMEOUT} queue_timeout\n"
"""Code of an error by termination state; all others are `no_replica`."""


def silent(status: int) -> str:
    """Return the line that makes HAProxy close the connection where it would answer with `status`.

    When HAProxy 3.0.11 answers a request that has not wholly arrived, it reads on to its end, and burns a core for ever
    if a chunk's size or extension fills the buffer. So nobody is answered who does not end his request.
    """
    return f"errorfile {status} /dev/null"


def own_errors(places: Places) -> Iterator[str]:
    """Yield the `http-error` lines of a `defaults` section."""
    yield silent(408)
    yield from (
        f"http-error status {status} content-type application/json hdr {Header.CODE} {code} "
        f"string '{error_json(kind, code, message)}'"
        for status, (kind, code, message) in BY_STATUS.items()
    )
    yield _unavailable(places)


def queue_timeout_is_429() -> str:
    """Return the rule that tells a busy fleet from one that is gone: HAProxy says 503 to both."""
    return f"http-after-response set-status 429 if {{ status 503 }} {{ txn.sess_term_state -m str {QUEUE_TIMEOUT} }}"


def refuse(
    status: int,
    code: str,
    message: str,
    *,
    when: str,
    param: str | None = None,
    retry_after: str | None = None,
    early: bool = False,
) -> str:
    """Return the rule that answers with an error if `when` holds.

    `early` is for rules that may answer before a long body in chunks has arrived; its connection is closed without an
    answer, for the reason that `silent` has. Their `when` begins with `if`.
    """
    kind = {401: "authentication_error", 429: "rate_limit_error"}.get(status, "invalid_request_error")
    seconds = retry_after or RETRY_AFTER_SECONDS.get(status)
    header = f" hdr Retry-After {seconds}" if seconds else ""
    answer = (
        f"http-request return status {status} content-type application/json hdr {Header.CODE} {code}{header} "
        f"string '{error_json(kind, code, message, param)}' {when}"
    )
    return f"http-request reject if chunked long_body {when.removeprefix('if ')}\n  {answer}" if early else answer


def _unavailable(places: Places) -> str:
    """Return the text of 503. The termination state says whether the queue was too long or nobody was there.

    By a map: HAProxy 3.0.11 crashes when it has to apply a regular expression here.
    """
    code = f"%[txn.sess_term_state,map_str({places.config}/{ENDINGS_FILE},no_replica)]"
    body = error_json("server_error", "CODE", "no replica could take the request in time; try again")
    return (
        f"http-error status 503 content-type application/json hdr {Header.CODE} {code} "
        f"hdr Retry-After {RETRY_AFTER_SECONDS[503]} lf-string '{body.replace('CODE', code)}'"
    )
