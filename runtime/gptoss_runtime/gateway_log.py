"""The line that HAProxy sends to the activator for each request. Standard library only."""

from enum import StrEnum


class LogField(StrEnum):
    """Names in the JSON object that HAProxy sends to the log socket for each request, when it has ended.

    Times in milliseconds; -1 where the request did not come so far. Strings that have no value are `-`. Lines that are
    not JSON are HAProxy's own news, such as `Server replicas/replica1 is UP, reason: ...`.
    """

    TIME = "time"
    """When the request arrived: seconds since 1970, a string with three decimals."""
    ID = "id"
    """Its x-request-id."""
    TENANT = "tenant"
    CLIENT = "client"
    """The client's address."""
    METHOD = "method"
    PATH = "path"
    MODEL = "model"
    """What the client asked for; not checked where the request was refused."""
    STREAM = "stream"
    """`1`: the client asked for a stream."""
    STATUS = "status"
    CODE = "code"
    """Why the front door refused it, as in the error's `code`. `-`: it did not."""
    BACKEND = "backend"
    """Where it went: `replicas`, `long_prompts`, `detour`, or the frontend's own name when it went nowhere."""
    REPLICA = "replica"
    """Address of the replica, `-` if none, `unix` for the activator."""
    INNER_REPLICA = "inner_replica"
    """The same, for a request that came back by the inner socket."""
    RETRIES = "retries"
    """A string: HAProxy puts `+` before the number when another server than the first was taken."""
    QUEUE_MS = "queue_ms"
    INNER_QUEUE_MS = "inner_queue_ms"
    """The time in the queue of a request that came back by the inner socket, a string."""
    CONNECT_MS = "connect_ms"
    RESPONSE_MS = "response_ms"
    """From the last byte to the server to its response head, which replicas withhold until the first token."""
    TOTAL_MS = "total_ms"
    """From the first byte of the request to the last of the answer."""
    BYTES_IN = "bytes_in"
    BYTES_OUT = "bytes_out"
    ENDED = "ended"
    """HAProxy's termination state, two letters; `--` is a complete answer.
    Meaning: https://docs.haproxy.org/3.0/configuration.html#8.5"""
    TRACE = "trace"
    """The client's traceparent header."""
    CACHE = "cache"
    """`hit`, `miss`, or `bypass`."""
