import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import pytest

from e2e.gateway.local import OWNER, LocalGateway, end, local_gateway
from e2e.gateway.replicas import SimulatedReplica, simulated_replicas
from gptoss_operator.core.render.haproxy.files import ENDPOINT_GRACE_SECONDS, ORDERS_FILE, leave_path
from gptoss_runtime.activator.haproxy.servers import UnreadableStat
from gptoss_runtime.activator.leave import has_requests
from gptoss_runtime.gateway_contract import GatewayGauge, GatewayState
from tests.gateway.asking import PATIENCE_SECONDS, ask, ask_on, chat, connection, log_lines, page, stream, until
from tests.gateway.raw import connect


ADDRESS = "127.0.1.81"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SOON_SECONDS = 5.0
SETTINGS, HEADERS, GO_AWAY = 4, 1, 7
"""Types of HTTP/2's frames."""
END_OF_ALL = 5
"""Flags of a frame with which headers and request end."""
GET_MODELS = b"\x82\x86\x44\x0a/v1/models\x41\x04chat"
"""Headers as HTTP/2 packs them: GET, http, the path, the host."""
Served = tuple[LocalGateway, SimulatedReplica]


@pytest.fixture
def served() -> Iterator[Served]:
    with (
        simulated_replicas([ADDRESS]) as (replica,),
        local_gateway([ADDRESS], address="127.0.1.8") as gateway,
    ):
        yield gateway, replica


@pytest.fixture
def leaving_fast() -> Iterator[Served]:
    shorter = {f'"leave_seconds":{ENDPOINT_GRACE_SECONDS}': '"leave_seconds":0.1'}
    with (
        simulated_replicas([ADDRESS]) as (replica,),
        local_gateway([ADDRESS], address="127.0.1.8", replaced=shorter) as gateway,
    ):
        assert json.loads((gateway.directory / ORDERS_FILE).read_text())["leave_seconds"] == 0.1
        yield gateway, replica


def leave(gateway: LocalGateway) -> str:
    return page(f"http://{gateway.address}:{gateway.activator_port}{leave_path(OWNER)}")


def refuses(gateway: LocalGateway) -> bool:
    try:
        connect(gateway).close()
    except ConnectionError:
        return True
    return False


def next_frame(frames: BinaryIO) -> int | None:
    """Read one frame of HTTP/2, and return its type; None when the connection has ended."""
    head = frames.read(9)
    if not head:
        return None
    frames.read(int.from_bytes(head[:3]))
    return head[3]


def answered(gateway: LocalGateway) -> list[dict[str, Any]]:
    """Return the lines of requests with an answer of 200; a look whether connections are refused has a line too."""
    return [line for line in log_lines(gateway) if line.get("status") == 200]


def gauge(gateway: LocalGateway, name: GatewayGauge) -> float | None:
    text = page(f"http://{gateway.address}:{gateway.activator_port}/state")
    return GatewayState.decode(text).gauges.get(name)


def replicas_up(gateway: LocalGateway) -> float | None:
    return gauge(gateway, GatewayGauge.REPLICAS_UP)


def held_requests(gateway: LocalGateway) -> float | None:
    return gauge(gateway, GatewayGauge.HELD)


def test_a_soft_stop_ends_streams_whole_and_takes_nothing_new(served: Served) -> None:
    gateway, replica = served
    replica.set(chunks=30, gap_seconds=0.05)
    haproxy = gateway.parts["haproxy"].process

    with stream(gateway) as short, stream(gateway, "x" * 30_000) as long:
        haproxy.send_signal(signal.SIGUSR1)
        until(lambda: refuses(gateway), "new connections are refused")
        ends = [response.read() for response in (short, long)]

    assert all(end.endswith(b"data: [DONE]\n\n") and b"replica_lost" not in end for end in ends)
    assert haproxy.wait(2 * PATIENCE_SECONDS) == 0


def test_a_gateway_that_leaves_writes_the_lines_of_its_last_streams_and_is_gone_soon(leaving_fast: Served) -> None:
    gateway, replica = leaving_fast
    replica.set(chunks=30, gap_seconds=0.1)
    haproxy = gateway.parts["haproxy"].process

    with ThreadPoolExecutor(1) as hook, stream(gateway) as short, stream(gateway, "x" * 30_000) as long:
        left = hook.submit(leave, gateway)
        until(lambda: refuses(gateway), "new connections are refused")
        assert not left.done()
        ends = [response.read() for response in (short, long)]
        assert left.result(SOON_SECONDS) == "left\n"
    haproxy.send_signal(signal.SIGUSR1)

    assert haproxy.wait(SOON_SECONDS) == 0
    assert all(end.endswith(b"data: [DONE]\n\n") for end in ends)
    until(lambda: len(answered(gateway)) == 2, "two lines")
    assert [line["ended"] for line in answered(gateway)] == ["completed", "completed"]


def test_a_gateway_that_leaves_keeps_what_it_holds_until_a_replica_is_ready(leaving_fast: Served) -> None:
    gateway, replica = leaving_fast
    replica.set(ready=False)
    until(lambda: replicas_up(gateway) == 0, "the replica is down")

    with ThreadPoolExecutor(2) as threads:
        held = threads.submit(ask, gateway, chat())
        until(lambda: held_requests(gateway) == 1, "the request is held")
        left = threads.submit(leave, gateway)
        until(lambda: refuses(gateway), "new connections are refused")
        replica.set(ready=True)

        assert held.result().status == 200
        assert left.result(SOON_SECONDS) == "left\n"


def test_a_gateway_that_leaves_tells_clients_of_http_2_to_go(leaving_fast: Served) -> None:
    gateway, _ = leaving_fast

    with connect(gateway) as client, client.makefile("rb") as frames:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, SETTINGS, 0, 0, 0, 0, 0)))
        assert next_frame(frames) == SETTINGS
        assert leave(gateway) == "left\n"
        client.sendall(bytes((0, 0, len(GET_MODELS), HEADERS, END_OF_ALL, 0, 0, 0, 1)) + GET_MODELS)
        awaited = {HEADERS, GO_AWAY}
        while awaited:
            frame = next_frame(frames)
            assert frame is not None, f"the connection ended before these frames: {awaited}"
            awaited.discard(frame)


def test_a_gateway_without_haproxy_leaves_at_once(leaving_fast: Served) -> None:
    gateway, _ = leaving_fast
    end(gateway.parts["haproxy"].process)

    assert leave(gateway) == "left\n"
    assert "whether requests are left is not known" in gateway.said("activator")


@pytest.mark.parametrize("text", ["", "Unknown command", "# pxname,svname,scur,\nreplicas,BACKEND,,\n"])
def test_statistics_that_cannot_be_read_are_not_taken_for_none_left(text: str) -> None:
    with pytest.raises(UnreadableStat, match="HAProxy's statistics"):
        has_requests(text)


def test_a_leaving_gateway_still_takes_connections_and_closes_them_after_their_answers(served: Served) -> None:
    gateway, _ = served

    with ThreadPoolExecutor(1) as hook, connection(gateway) as client:
        assert "connection" not in ask_on(client, chat()).headers
        left = hook.submit(leave, gateway)
        until(lambda: "Leaving" in gateway.said("activator"), "the gateway leaves")
        until(lambda: ask(gateway, chat()).headers.get("connection") == "close", "new connections are closed")
        answer = ask_on(client, chat())
        assert not left.done()

    assert answer.status == 200
    assert answer.headers["connection"] == "close"


def test_each_request_has_one_line_in_the_log(served: Served) -> None:
    gateway, replica = served
    replica.set(usage_address=gateway.address, usage_port=gateway.usage_port)

    good = ask(gateway, chat(), traceparent=TRACE)
    long = ask(gateway, chat("x" * 30_000, stream=True))
    bad = ask(gateway, chat(model='x\\y"z'))
    until(lambda: len(log_lines(gateway)) == 3, "three lines")

    lines = {line["id"]: line for line in log_lines(gateway)}
    first, second, third = (lines[answer.headers["x-request-id"]] for answer in (good, long, bad))
    assert first["tenant"] == "anonymous"
    assert first["model"] == second["model"] == "openai/gpt-oss-20b"
    assert first["replica"] == second["replica"] == ADDRESS
    assert (first["tokens_in"], first["tokens_out"]) == (second["tokens_in"], second["tokens_out"]) == (7, 5)
    assert [line["stream"] for line in (first, second)] == [False, True]
    assert [line["status"] for line in (first, second, third)] == [200, 200, 404]
    assert [line["ended"] for line in (first, second, third)] == ["completed", "completed", "refused"]
    assert third["model"] == 'x\\y"z'
    assert third["code"] == "model_not_found"
    assert first["trace_id"] == TRACE.split("-")[1]
    assert all(isinstance(first[name], int) for name in ("queue_ms", "ttft_ms", "total_ms", "retries", "bytes_out"))
