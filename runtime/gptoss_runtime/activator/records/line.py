"""HAProxy's line of one request, and what it means. Pure."""

from enum import StrEnum

import msgspec

from gptoss_runtime.gateway_contract import Section


OK = 200
TOO_MANY_REQUESTS = 429
CLIENT_ERROR = 400
"""The first status of a request that failed by its client."""
SERVER_ERROR = 500
"""The first status of a request that failed by a server."""
REPLICAS = Section.REPLICAS.value
LONG_PROMPTS = Section.LONG_PROMPTS.value
DETOUR = Section.DETOUR.value
"""Backends. Requests to the last two come back by the inner socket."""
ACTIVATOR = Section.ACTIVATOR.value
"""What the line names as replica of a request that the activator answered itself."""
_UNIX = "unix"
"""How the address of an activator's socket begins."""
NONE = "-"
"""What HAProxy writes for what it does not know."""


class Line(msgspec.Struct, gc=False):
    """HAProxy's line. The names are those of `gateway_log.LogField`, where they are explained."""

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


COMPLETED = Ended.COMPLETED
"""By itself: to find a name in an enumeration is slow."""


def ended_of(line: Line) -> Ended:
    """Return why the request ended, from HAProxy's termination state and what it answered."""
    state = line.ended
    if state == "--" and line.status < CLIENT_ERROR:
        return COMPLETED
    if line.code != NONE and line.replica == NONE and state[:1] in {"L", "P", "-"}:
        return Ended.REFUSED
    if state == "--" or state[:1] == "L":
        return _answered(line)
    return _BY_STATE.get(state) or _BY_CAUSE.get(state[:1], Ended.OTHER)


def _answered(line: Line) -> Ended:
    """Return what the answer of a request meant that ended in order."""
    by_activator = (line.replica[:4] == _UNIX and line.backend == REPLICAS) or line.inner_replica[:4] == _UNIX
    if by_activator and line.status == TOO_MANY_REQUESTS:
        return Ended.HELD_TOO_LONG
    if line.status < CLIENT_ERROR or line.backend == REPLICAS or line.inner_replica != NONE:
        return Ended.COMPLETED
    if line.backend == LONG_PROMPTS or line.inner_queue_ms != NONE:
        return _ANSWERED_INSIDE.get(line.status, Ended.OTHER)
    if line.backend == DETOUR and line.status >= SERVER_ERROR:
        return Ended.GATEWAY_ERROR
    return Ended.REFUSED


def replica_of(line: Line) -> str | None:
    """Return the address of the replica that answered, `activator`, or None where nobody did."""
    inner = line.inner_replica
    name = line.replica if inner == NONE else inner
    if name[:4] != _UNIX:
        return None if name == NONE else name
    # A request that went round and never reached a replica was answered there by nobody that has an address.
    return None if line.backend == LONG_PROMPTS and inner == NONE else ACTIVATOR


def expects_usage(line: Line) -> bool:
    """Return whether a replica reports, or has reported, the tokens of this request."""
    if line.status != OK:
        return False
    # A held stream goes through the activator, but a replica answered it.
    return line.backend == REPLICAS or replica_of(line) not in {None, ACTIVATOR}


def was_for_replicas(line: Line, ended: Ended) -> bool:
    """Return whether the request was queued, held or sent on for a replica.

    What the front door refused was not, nor what the detour answered by itself.
    """
    if line.backend == DETOUR:
        return line.inner_replica != NONE or line.inner_queue_ms != NONE
    return (line.backend == REPLICAS or line.backend == LONG_PROMPTS) and ended != Ended.REFUSED  # noqa: PLR1714 - fast


def retries_of(line: Line) -> int:
    """Return how often the request was sent once more."""
    number = line.retries.lstrip("+")
    return int(number) if number.isdecimal() else 0
