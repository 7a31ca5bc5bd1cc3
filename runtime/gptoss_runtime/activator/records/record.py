"""From HAProxy's line of one request to the line that people read. Pure."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from gptoss_runtime.activator.records.line import (
    ACTIVATOR,
    DETOUR,
    LONG_PROMPTS,
    NONE,
    REPLICAS,
    Ended,
    Line,
    ended_of,
    replica_of,
    retries_of,
)
from gptoss_runtime.gateway_contract import ANONYMOUS, GatewayOrders


_BEHIND_THE_DOOR = frozenset({REPLICAS, LONG_PROMPTS, DETOUR})


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What HAProxy does not say, since it is nearly always the same."""

    model: str | None = None
    """The model that was asked for. None: HAProxy says it."""
    tenant: str | None = None
    """Who asks. None: HAProxy says it of all that are somebody."""


def usual_of(orders: GatewayOrders) -> Usual:
    """Return what HAProxy does not say in a deployment with these orders."""
    return Usual(
        model=orders.model_names[0] if orders.model_names else None, tenant=None if orders.has_keys else ANONYMOUS
    )


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
    ended: Ended


def records_of(lines: Iterable[Line], usual: Usual) -> list[Record]:
    """Return the lines that people read, without tokens, which replicas report."""
    records = []
    second = text = ""
    # One loop with hardly a call: this is done for every request.
    for line in lines:
        moment = line.time
        if moment[:-4] != second:
            # Most lines are of the same second.
            second = moment[:-4]
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(second)))
        tenant, model, code, backend = line.tenant, line.model, line.code, line.backend
        replica = replica_of(line)
        queue_ms, connect_ms, response_ms, total_ms = line.queue_ms, line.connect_ms, line.response_ms, line.total_ms
        # A held stream has its head long before its first token: then nobody knows when that came.
        is_known = not (replica is ACTIVATOR and backend == REPLICAS)
        has_begun = is_known and queue_ms >= 0 and connect_ms >= 0 and response_ms >= 0
        ttft_ms = queue_ms + connect_ms + response_ms if has_begun else None
        if line.inner_queue_ms != NONE and line.inner_queue_ms.isdecimal():
            queue_ms = int(line.inner_queue_ms)
        if model == NONE and code == NONE and line.method == "POST" and backend in _BEHIND_THE_DOOR:
            model = usual.model or NONE
        records.append(
            Record(
                f"{text}{moment[-4:]}Z",
                line.id,
                usual.tenant if tenant == NONE else tenant,
                line.client,
                line.method,
                line.path,
                None if model == NONE else model,
                line.stream == "1",
                line.status,
                None if code == NONE else code,
                replica,
                0 if line.retries == "0" else retries_of(line),
                queue_ms if queue_ms >= 0 else None,
                ttft_ms,
                total_ms if total_ms >= 0 else None,
                None,
                None,
                line.bytes_in,
                line.bytes_out,
                None if line.cache == NONE else line.cache,
                None if line.trace == NONE else trace_id(line.trace),
                ended_of(line),
            )
        )
    return records


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
