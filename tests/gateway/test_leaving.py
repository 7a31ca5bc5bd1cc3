import signal
from collections.abc import Iterator

import pytest

from e2e.gateway.local import LocalGateway, local_gateway
from e2e.gateway.replicas import SimulatedReplica, simulated_replicas
from tests.gateway.asking import PATIENCE_SECONDS, ask, ask_on, chat, connection, log_lines, page, stream, until
from tests.gateway.raw import connect


ADDRESS = "127.0.1.81"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
Served = tuple[LocalGateway, SimulatedReplica]


@pytest.fixture
def served() -> Iterator[Served]:
    with (
        simulated_replicas([ADDRESS]) as (replica,),
        local_gateway([ADDRESS], address="127.0.1.8") as gateway,
    ):
        yield gateway, replica


def refuses(gateway: LocalGateway) -> bool:
    try:
        connect(gateway).close()
    except ConnectionError:
        return True
    return False


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


def test_a_leaving_gateway_closes_connections_after_their_answers(served: Served) -> None:
    gateway, _ = served

    with connection(gateway) as client:
        assert "connection" not in ask_on(client, chat()).headers
        page(f"http://{gateway.address}:{gateway.activator_port}/leave")
        answer = ask_on(client, chat())

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
