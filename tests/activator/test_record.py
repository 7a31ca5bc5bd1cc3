"""What becomes of one line of HAProxy's log."""

import json

import msgspec
import pytest

from gptoss_runtime.activator.haproxy.servers import BackendStat, Replicas, ServerStat, ServerStatus
from gptoss_runtime.activator.records.line import Ended, Line, ended_of, expects_usage
from gptoss_runtime.activator.records.record import Record, Usual, records_of, token_ms, trace_id, usual_of
from gptoss_runtime.activator.records.state import StateWriter, Totals
from gptoss_runtime.activator.records.telemetry import NOTHING_HELD, Held
from gptoss_runtime.contract import ContractError
from gptoss_runtime.gateway_contract import ANONYMOUS, QUEUE_FULL, GatewayOrders, GatewayState, Usage
from gptoss_runtime.gateway_log import LogField
from tests.activator.lines import a_line, a_refusal


USAGE = Usage(id="39388ef6", tenant="team-a", prompt_tokens=12, generation_tokens=101)


def a_record(line: Line, usage: Usage | None = None, usual: Usual | None = None) -> Record:
    (record,) = records_of([line], usual or Usual())
    if usage:
        record.tokens_in, record.tokens_out = usage.prompt_tokens, usage.generation_tokens
    return record


def written(line: Line, usage: Usage | None = None, usual: Usual | None = None) -> dict[str, object]:
    found: dict[str, object] = json.loads(msgspec.json.encode(a_record(line, usage, usual)))
    return found


def test_a_line_has_every_field_of_the_contract() -> None:
    assert set(Line.__struct_fields__) == {str(name) for name in LogField}


def test_a_stream_with_its_tokens() -> None:
    assert written(a_line(), USAGE) == {
        "time": "2026-11-23T02:51:23.007Z",
        "id": "39388ef6",
        "tenant": "team-a",
        "client": "10.1.2.3",
        "method": "POST",
        "path": "/v1/chat/completions",
        "model": "openai/gpt-oss-20b",
        "stream": True,
        "status": 200,
        "code": None,
        "replica": "10.0.0.7",
        "retries": 2,
        "queue_ms": 40,
        "ttft_ms": 100,
        "total_ms": 1100,
        "tokens_in": 12,
        "tokens_out": 101,
        "bytes_in": 300,
        "bytes_out": 9000,
        "cache": None,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "ended": "completed",
    }
    assert token_ms(a_record(a_line(), USAGE)) == 10.0


def test_a_refused_request_has_no_times_and_no_replica() -> None:
    found = written(a_refusal(trace="-", model="-", stream="-"))
    unknown = {name for name, value in found.items() if value is None}
    assert unknown == {
        *("tenant", "model", "replica", "queue_ms", "ttft_ms", "tokens_in", "tokens_out", "cache", "trace_id"),
    }
    assert (found["ended"], found["code"], found["stream"]) == ("refused", "invalid_api_key", False)


def test_a_request_that_came_back_has_the_inner_queue_and_replica() -> None:
    line = a_line(backend="long_prompts", replica="unix", inner_replica="10.0.0.9", inner_queue_ms="350", queue_ms=0)
    found = written(line)
    assert (found["replica"], found["queue_ms"], found["ended"]) == ("10.0.0.9", 350, "completed")
    assert expects_usage(line)


SILENT = {"model": "-", "tenant": "-"}
"""What HAProxy says of the usual model and of anonymous clients."""


@pytest.mark.parametrize("backend", ["replicas", "long_prompts", "detour"])
def test_the_usual_model_and_anonymous_clients_are_named_though_haproxy_does_not(backend: str) -> None:
    orders = GatewayOrders(deployment="chat", namespace="default", model_names=("gpt-oss", "alias"))
    found = written(a_line(backend=backend, **SILENT), usual=usual_of(orders))
    assert (found["model"], found["tenant"]) == ("gpt-oss", ANONYMOUS)
    assert written(a_line(backend=backend, model="alias"), usual=usual_of(orders))["model"] == "alias"


@pytest.mark.parametrize(
    "line", [a_line(method="GET", **SILENT), a_refusal(**SILENT), a_line(ended="cR", backend="openai", **SILENT)]
)
def test_nobody_asked_for_a_model_who_did_not_pass_the_door_with_a_body(line: Line) -> None:
    orders = GatewayOrders(deployment="chat", namespace="default", model_names=("gpt-oss",), has_keys=True)
    found = written(line, usual=usual_of(orders))
    # Where there are keys, who is not named is nobody.
    assert (found["model"], found["tenant"]) == (None, None)


def test_fields_may_be_left_out() -> None:
    few = {"time": "1795402283.007", "id": "a", "status": 400, "backend": "openai", "total_ms": 1, "ended": "PR"}
    found = written(msgspec.convert(few, Line))
    assert (found["model"], found["tenant"], found["ended"]) == (None, None, "refused")


def test_what_the_activator_answered_waits_for_no_tokens() -> None:
    line = a_line(backend="detour", replica="unix", cache="hit")
    assert written(line)["replica"] == "activator"
    assert not expects_usage(line)


def test_a_held_stream_has_tokens_but_nobody_knows_when_the_first_came() -> None:
    line = a_line(replica="unix")
    found = written(line, USAGE)
    assert (found["replica"], found["ttft_ms"], found["tokens_out"]) == ("activator", None, 101)
    assert expects_usage(line)


@pytest.mark.parametrize(
    ("changes", "ended"),
    [
        ({"ended": "CD"}, Ended.CLIENT_LEFT),
        ({"ended": "CH", "status": -1}, Ended.CLIENT_LEFT),
        ({"ended": "CQ", "status": -1, "replica": "-"}, Ended.CLIENT_LEFT),
        ({"ended": "cD"}, Ended.TIMEOUT),
        ({"ended": "sH", "status": 504}, Ended.TIMEOUT),
        ({"ended": "sD"}, Ended.TIMEOUT),
        ({"ended": "sQ", "status": 429, "replica": "-", "code": "queue_timeout"}, Ended.QUEUE_TIMEOUT),
        ({"ended": "sC", "status": 503}, Ended.REPLICA_LOST),
        ({"ended": "SC", "status": 503}, Ended.REPLICA_LOST),
        ({"ended": "SH", "status": 502}, Ended.REPLICA_LOST),
        ({"ended": "SD"}, Ended.REPLICA_LOST),
        ({"ended": "DD"}, Ended.REPLICA_LOST),
        ({"ended": "PH", "status": 502}, Ended.GATEWAY_ERROR),
        ({"ended": "RC", "status": 500}, Ended.GATEWAY_ERROR),
        ({"ended": "IH", "status": 500}, Ended.GATEWAY_ERROR),
        ({"ended": "PR", "status": 400, "replica": "-", "backend": "openai"}, Ended.REFUSED),
        ({"ended": "LR", "status": 200, "replica": "-", "backend": "openai"}, Ended.COMPLETED),
        ({"status": 400}, Ended.COMPLETED),
        ({"status": 429, "replica": "unix"}, Ended.HELD_TOO_LONG),
        ({"status": 429, "backend": "long_prompts", "replica": "unix", "inner_replica": "unix"}, Ended.HELD_TOO_LONG),
        ({"status": 429, "backend": "long_prompts", "replica": "unix"}, Ended.QUEUE_TIMEOUT),
        ({"status": 502, "backend": "long_prompts", "replica": "unix"}, Ended.REPLICA_LOST),
        ({"status": 400, "backend": "detour", "replica": "unix"}, Ended.REFUSED),
        ({"status": 502, "backend": "detour", "replica": "unix"}, Ended.GATEWAY_ERROR),
        ({"ended": "XX"}, Ended.OTHER),
    ],
)
def test_why_a_request_ended(changes: dict[str, object], ended: Ended) -> None:
    assert ended_of(a_line(**changes)) is ended


@pytest.mark.parametrize(
    "header", ["", "x", "00-xyz-1-01", f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-{'G' * 32}-1-01"]
)
def test_a_broken_traceparent_is_none(header: str) -> None:
    assert trace_id(header) is None


def test_the_state_counts_requests_that_still_run_and_never_goes_back() -> None:
    totals = Totals()
    lines = [a_line(), a_line(status=502, ended="SH"), a_refusal(), a_line(backend="detour", cache="hit")]
    totals.count(lines, records_of(lines, Usual()))
    totals.count_tokens(USAGE)
    writer = StateWriter(start_id="me", started=100.0)
    busy = Replicas(backend=BackendStat(running=3, queued=2), servers=())
    idle = Replicas(backend=BackendStat(running=0, queued=0), servers=())

    first = writer.state(totals, Held(now=1, total=7, oldest_seconds=2.5), busy, 160.0, ttft_ms={"500": 3})
    assert first == GatewayState(
        start_id="me",
        sequence=1,
        uptime_seconds=60.0,
        counters={
            "arrivals": 2 + 3 + 2 + 1,
            "finished": 2,
            "failed": 1,
            "refused": 1,
            "shed": 0,
            "retries": 4,
            "held_total": 7,
            "prompt_tokens": 12,
            "generation_tokens": 101,
        },
        gauges={"held": 1, "oldest_held_seconds": 2.5, "in_flight": 3, "queued": 2, "replicas_up": 0},
        ttft_ms={"500": 3},
    )
    # Their lines are on the way.
    second = writer.state(totals, Held(now=0, total=7, oldest_seconds=0.0), idle, 161.0, ttft_ms={})
    assert (second.sequence, second.counters["arrivals"]) == (2, 8)
    # HAProxy does not answer: what it would know is absent, not zero.
    third = writer.state(totals, Held(now=0, total=7, oldest_seconds=0.0), None, 162.0, ttft_ms={})
    assert set(third.gauges) == {"held", "oldest_held_seconds"}
    assert third.replicas == {}


def a_server(address: str, status: ServerStatus) -> ServerStat:
    return ServerStat(name=address, address=address, status=status, slots=None, running=0, queued=0, weight=100)


def test_the_state_says_which_replicas_this_gateway_finds_alive() -> None:
    up, draining, down = (
        a_server(f"10.0.0.{n}", status)
        for n, status in enumerate((ServerStatus.UP, ServerStatus.DRAIN, ServerStatus.DOWN))
    )
    seen = Replicas(backend=BackendStat(running=0, queued=0), servers=(up, draining, down))
    state = StateWriter(start_id="me", started=0.0).state(Totals(), NOTHING_HELD, seen, 1.0, ttft_ms={})
    assert state.replicas == {"10.0.0.0": True, "10.0.0.1": True, "10.0.0.2": False}
    assert GatewayState.decode(state.encode()) == state


def test_what_was_shed_for_a_full_queue_is_told_apart_from_what_was_refused_for_its_own_sake() -> None:
    totals = Totals()
    lines = [
        a_refusal(status=429, code=QUEUE_FULL, ended="PR"),
        a_refusal(status=429, code="rate_exceeded", ended="PR"),
        a_refusal(),
        a_line(status=429, replica="unix"),
        a_line(status=429, replica="-", ended="sQ", code="queue_timeout"),
    ]
    totals.count(lines, records_of(lines, Usual()))
    assert (totals.shed, totals.refused) == (1, 3)
    assert totals.finished == 2, "a request that waited, or found no room to be held, has arrived"


def test_a_document_without_the_newer_fields_is_read() -> None:
    older = json.loads(GatewayState(start_id="me", sequence=1, uptime_seconds=2.0).encode())
    del older["replicas"], older["ttft_ms"]
    assert GatewayState.decode(json.dumps({**older, "unknown": 1})).replicas == {}
    del older["sequence"]
    with pytest.raises(ContractError, match="sequence"):
        GatewayState.decode(json.dumps(older))
