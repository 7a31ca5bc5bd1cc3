"""From HAProxy's line of one request to the line that people read, and why the request ended. Pure."""

import time
from enum import StrEnum

import msgspec

from gptoss_runtime.activator.haproxy.servers import BACKEND
from gptoss_runtime.gateway_contract import Usage


LONG_PROMPTS = "long_prompts"
DETOUR = "detour"
"""Backends, beside that of the replicas, whose requests come back by the inner socket."""
ACTIVATOR = "activator"
"""What the line names as replica of a request that the activator answered itself."""
_UNIX = "unix"
"""How the address of an activator's socket begins."""
_NONE = "-"
"""What HAProxy writes for what it does not know."""


class Line(msgspec.Struct, gc=False):
    """HAProxy's line. The names are those of `gateway_contract.LogField`, where they are explained."""

    time: str
    id: str
    status: int
    backend: str
    total_ms: int
    ended: str
    tenant: str = "-"
    client: str = "-"
    method: str = "-"
    path: str = "-"
    model: str = "-"
    stream: str = "-"
    code: str = "-"
    replica: str = "-"
    inner_replica: str = "-"
    retries: str = "0"
    queue_ms: int = -1
    inner_queue_ms: str = "-"
    connect_ms: int = -1
    response_ms: int = -1
    bytes_in: int = 0
    bytes_out: int = 0
    trace: str = "-"
    cache: str = "-"


class Ended(StrEnum):
    """Why a request ended."""

    COMPLETED = "completed"
    """The client has the whole answer, whatever its status."""
    CLIENT_LEFT = "client_left"
    """The client hung up first."""
    REPLICA_LOST = "replica_lost"
    """No replica could be reached, or one was lost before its answer was complete."""
    QUEUE_TIMEOUT = "queue_timeout"
    """No replica had a place in time."""
    REFUSED = "refused"
    """By the front door or the content filter; `code` says why."""
    HELD_TOO_LONG = "held_too_long"
    """No replica was ready in time, or too many requests waited for one already."""
    GATEWAY_ERROR = "gateway_error"
    """The gateway lacked something, or could not make sense of the replica's answer."""
    TIMEOUT = "timeout"
    """The replica or the client was silent for too long."""
    OTHER = "other"
    """HAProxy ended it in a way that is none of these; see `ended` in HAProxy's manual, section 8.5."""


_BY_STATE = {
    "sQ": Ended.QUEUE_TIMEOUT,
    "sC": Ended.REPLICA_LOST,
    "PH": Ended.GATEWAY_ERROR,
    "PR": Ended.REFUSED,
    "PT": Ended.REFUSED,
}
"""By both letters, where the first alone does not tell."""
_BY_CAUSE = {
    "C": Ended.CLIENT_LEFT,
    "c": Ended.TIMEOUT,
    "s": Ended.TIMEOUT,
    "S": Ended.REPLICA_LOST,
    "D": Ended.REPLICA_LOST,
    "K": Ended.REPLICA_LOST,
    "U": Ended.GATEWAY_ERROR,
    "P": Ended.GATEWAY_ERROR,
    "R": Ended.GATEWAY_ERROR,
    "I": Ended.GATEWAY_ERROR,
}
"""By the first letter of HAProxy's termination state."""
_ANSWERED_INSIDE = {
    429: Ended.QUEUE_TIMEOUT,
    502: Ended.REPLICA_LOST,
    503: Ended.REPLICA_LOST,
    504: Ended.TIMEOUT,
}
"""By the status that came back by the inner socket from no replica."""


_COMPLETED = Ended.COMPLETED


def ended_of(line: Line) -> Ended:
    """Return why the request ended, from HAProxy's termination state and what it answered."""
    state = line.ended
    if state == "--" and line.status < 400:  # noqa: PLR2004 - HTTP's first error
        return _COMPLETED
    if line.code != _NONE and line.replica == _NONE and state[:1] in {"L", "P", "-"}:
        return Ended.REFUSED
    if state == "--" or state[:1] == "L":
        return _answered(line)
    return _BY_STATE.get(state) or _BY_CAUSE.get(state[:1], Ended.OTHER)


def _answered(line: Line) -> Ended:
    """Return what the answer of a request meant that ended in order."""
    by_activator = (line.replica[:4] == _UNIX and line.backend == BACKEND) or line.inner_replica[:4] == _UNIX
    if by_activator and line.status == 429:  # noqa: PLR2004 - Too Many Requests
        return Ended.HELD_TOO_LONG
    if line.status < 400 or line.backend == BACKEND or line.inner_replica != _NONE:  # noqa: PLR2004 - the same
        return Ended.COMPLETED
    if line.backend == LONG_PROMPTS or line.inner_queue_ms != _NONE:
        return _ANSWERED_INSIDE.get(line.status, Ended.OTHER)
    if line.backend == DETOUR and line.status >= 500:  # noqa: PLR2004 - HTTP's first error of servers
        return Ended.GATEWAY_ERROR
    return Ended.REFUSED


def replica_of(line: Line) -> str | None:
    """Return the address of the replica that answered, `activator`, or None where nobody did."""
    name = line.replica if line.inner_replica == _NONE else line.inner_replica
    if name[:4] != _UNIX:
        return None if name == _NONE else name
    # A request that went round and never reached a replica was answered there by nobody that has an address.
    return None if line.backend == LONG_PROMPTS and line.inner_replica == _NONE else ACTIVATOR


def expects_usage(line: Line) -> bool:
    """Return whether a replica reports, or has reported, the tokens of this request."""
    if line.status != 200:  # noqa: PLR2004 - HTTP's OK
        return False
    # A held stream goes through the activator, but a replica answered it.
    return line.backend == BACKEND or replica_of(line) not in {None, ACTIVATOR}


def was_for_replicas(line: Line, ended: Ended) -> bool:
    """Return whether the request was queued, held or sent on for a replica.

    What the front door refused was not, nor what the detour answered by itself.
    """
    if line.backend == DETOUR:
        return line.inner_replica != _NONE or line.inner_queue_ms != _NONE
    return (line.backend == BACKEND or line.backend == LONG_PROMPTS) and ended != Ended.REFUSED  # noqa: PLR1714 - fast


class Record(msgspec.Struct, gc=False):
    """The line that people read. None: unknown, or the request did not come so far."""

    time: str
    """When the request arrived, ISO 8601 in UTC with milliseconds."""
    id: str
    tenant: str | None
    client: str
    method: str
    path: str
    model: str | None
    stream: bool
    status: int
    """-1 or 0: the client left before there was one."""
    code: str | None
    replica: str | None
    retries: int
    queue_ms: int | None
    ttft_ms: int | None
    """From the complete request to the first token, which comes with the response head."""
    total_ms: int | None
    tokens_in: int | None
    tokens_out: int | None
    bytes_in: int
    bytes_out: int
    cache: str | None
    trace_id: str | None
    ended: str


def record_of(line: Line, ended: Ended, usage: Usage | None) -> Record:
    """Return the line that people read. `usage` is what the replica reported, if it did."""
    inner = line.inner_queue_ms
    queue_ms = line.queue_ms if inner == _NONE or not inner.isdecimal() else int(inner)
    # Written out, since this is done for every request: a function for each field would be half of the work.
    return Record(
        _iso(line.time),
        line.id,
        None if line.tenant == _NONE else line.tenant,
        line.client,
        line.method,
        line.path,
        None if line.model == _NONE else line.model,
        line.stream == "1",
        line.status,
        None if line.code == _NONE else line.code,
        replica_of(line),
        0 if line.retries == "0" else retries_of(line),
        queue_ms if queue_ms >= 0 else None,
        ttft_ms(line),
        line.total_ms if line.total_ms >= 0 else None,
        usage.prompt_tokens if usage else None,
        usage.generation_tokens if usage else None,
        line.bytes_in,
        line.bytes_out,
        None if line.cache == _NONE else line.cache,
        None if line.trace == _NONE else trace_id(line.trace),
        ended,
    )


def retries_of(line: Line) -> int:
    """Return how often the request was sent once more."""
    number = line.retries.lstrip("+")
    return int(number) if number.isdecimal() else 0


def ttft_ms(line: Line) -> int | None:
    """Return the milliseconds from the complete request to the first token; None if there was none, or nobody knows."""
    if line.replica[:4] == _UNIX and line.backend == BACKEND:
        # A held stream has its head long before its first token.
        return None
    if line.queue_ms < 0 or line.connect_ms < 0 or line.response_ms < 0:
        return None
    return line.queue_ms + line.connect_ms + line.response_ms


def token_ms(record: Record) -> float | None:
    """Return the milliseconds per token after the first; None where that is unknown or means nothing."""
    if not record.stream or record.ttft_ms is None or record.total_ms is None or (record.tokens_out or 0) <= 1:
        return None
    assert record.tokens_out is not None  # noqa: S101 - for the type checker; it is more than one
    return max(record.total_ms - record.ttft_ms, 0) / (record.tokens_out - 1)


def trace_id(traceparent: str) -> str | None:
    """Return the trace id of a W3C traceparent header; None if it is not one."""
    parts = traceparent.split("-")
    if len(parts) < 4 or len(parts[0]) != 2 or len(parts[1]) != 32:  # noqa: PLR2004 - version-traceid-parent-flags
        return None
    identifier = parts[1]
    return identifier if _HEX.issuperset(identifier) and identifier != "0" * 32 else None


_HEX = frozenset("0123456789abcdef")


class _Second:
    """The last second that was asked for, as text: most lines are of the same one."""

    seconds = ""
    text = ""


def _iso(seconds: str) -> str:
    whole = seconds[:-4]
    if whole != _Second.seconds:
        _Second.text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(whole)))
        _Second.seconds = whole
    return f"{_Second.text}{seconds[-4:]}Z"
