import re
from collections.abc import Iterator

import pytest

from e2e.gateway.local import LocalGateway, local_gateway
from e2e.gateway.replicas import SimulatedReplica, simulated_replicas
from tests.gateway.corpus.case import CHUNKED, JSON, LAST, chunk, document, post
from tests.gateway.corpus.valid import SPOOFED, VALID, Valid
from tests.gateway.raw import answers, connect, exchange, half_close, read_some, read_to_end, send


Served = tuple[LocalGateway, SimulatedReplica]
CLEAN_HEADER = re.compile(r"[a-z0-9_-]+: [^\r\n]*")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with (
        simulated_replicas(["127.0.1.21"]) as (replica,),
        local_gateway([replica.address], address="127.0.1.2") as gateway,
    ):
        yield gateway, replica


def assert_clean(head: str, line: str) -> None:
    first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    assert first == line
    assert all(CLEAN_HEADER.fullmatch(text) for text in lines), lines
    names = [text.partition(":")[0] for text in lines]
    assert len({"content-length", "transfer-encoding"} & set(names)) == 1
    assert len(names) == len(set(names))
    assert "upgrade" not in names


@pytest.mark.parametrize("case", VALID, ids=lambda case: case.name)
def test_a_replica_gets_one_clean_request(served: Served, case: Valid) -> None:
    gateway, replica = served
    before = replica.seen()

    with connect(gateway) as client:
        send(client, case.data)
        received = read_some(client)
        if case.closes and not case.data.startswith(b"PRI"):
            received += read_to_end(client)
        half_close(client)
        received += read_to_end(client)

    after = replica.seen()
    assert after["heads"] == after["requests"] == before["requests"] + 1
    assert after["last_body_bytes"] in {len(JSON), len(JSON) + 1}
    assert_clean(after["last_head"], case.line)
    if not case.data.startswith(b"PRI"):
        assert [answer.status for answer in answers(received)] == [200]


def test_a_hundred_pipelined_requests_are_answered_in_turn(served: Served) -> None:
    gateway, replica = served
    before = replica.seen()["requests"]

    with connect(gateway) as client:
        send(client, post() * 99 + post(JSON, b"connection: close"))
        said = answers(read_to_end(client))

    assert [answer.status for answer in said] == [200] * 100
    assert replica.seen()["requests"] == before + 100


def test_what_follows_a_refused_request_is_a_request_of_its_own(served: Served) -> None:
    gateway, replica = served
    before = replica.seen()["requests"]

    with connect(gateway) as client:
        send(client, post(document(model="x")) + post() + post(b"[]") + post(JSON, b"connection: close"))
        said = answers(read_to_end(client))

    assert [answer.status for answer in said] == [404, 200, 400, 200]
    assert replica.seen()["requests"] == before + 2


def test_100_continue_comes_before_the_body(served: Served) -> None:
    gateway, replica = served

    with connect(gateway) as client:
        send(client, post(b"", b"expect: 100-continue", length=str(len(JSON)).encode()))
        assert answers(read_some(client))[0].status == 100
        send(client, JSON)
        assert answers(read_some(client))[0].status == 200

    assert "expect" not in replica.seen()["last_head"]


@pytest.mark.parametrize("size", [0, 50_000], ids=["short", "long"])
def test_what_only_the_gateway_may_say_is_overwritten(served: Served, size: int) -> None:
    gateway, replica = served
    body = document(padding="x" * size, stream=False)

    answer = exchange(gateway, post(body, *SPOOFED))[0]

    head = replica.seen()["last_head"].lower()
    said = dict(line.split(": ", 1) for line in head.split("\r\n") if ": " in line)
    assert said["x-gptoss-tenant"] == "anonymous"
    assert head.count("x-gptoss-tenant") == head.count("x-request-id") == 1
    assert said["x-request-id"] == answer.headers["x-request-id"] != "mine"
    assert not [line for line in head.split("\r\n") if line.encode() in {spoofed.lower() for spoofed in SPOOFED}]
    assert not {name for name in answer.headers if name.startswith("x-gptoss-")}


def test_trailers_cannot_say_who_asks(served: Served) -> None:
    gateway, replica = served

    exchange(gateway, post(chunk() + LAST[:-2] + b"x-gptoss-tenant: root\r\n\r\n", CHUNKED, sized=False))

    head, _, rest = replica.seen()["last_head"].partition("\r\n\r\n")
    # Servers add trailers behind the headers, and the first of a name counts.
    assert head.count("x-gptoss-tenant: anonymous") == 1
    assert rest == ""


def test_the_trace_reaches_the_replica_unchanged(served: Served) -> None:
    gateway, replica = served
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    exchange(gateway, post(JSON, f"traceparent: {trace}".encode(), b"tracestate: a=b"))

    assert f"traceparent: {trace}\r\ntracestate: a=b\r\n" in replica.seen()["last_head"]
