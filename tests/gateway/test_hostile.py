"""Clients that are slow, that leave, and that come again and again."""

import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from e2e.gateway.local import LocalGateway, local_gateway
from e2e.gateway.replicas import SimulatedReplica, simulated_replicas
from tests.gateway.corpus import CORPUS
from tests.gateway.corpus.case import CHAT, JSON, LAST, chunk, chunked, document, post
from tests.gateway.corpus.http2 import PREFACE, frame
from tests.gateway.raw import connect, exchange, half_close, read_some, read_to_end, send


REQUEST_SECONDS = 1
"""What this gateway gives a request to arrive."""
PATIENCE_SECONDS = 15
ROUNDS = 5
MOST_GROWTH_KB = 2048
LONG = document(padding="x" * 40_000)

ENDLESS = chunked(chunk(LONG[:-1]) + b"4a;" + b"x" * 100_000)

Served = tuple[LocalGateway, SimulatedReplica]

SLOW = {
    "nothing": (b"", b""),
    "a head": (b"POST /v1/chat/completions HTTP/1.1\r\n", b"x: y\r\n"),
    "one header": (b"POST /v1/chat/completions HTTP/1.1\r\nx: ", b"y"),
    "a target": (b"POST /v1/chat/completions?", b"a"),
    "a preface": (PREFACE[:10], b""),
    "a body": (post(b"{", length=b"4000"), b" "),
    "a body that stops": (post(JSON[:40], length=b"74"), b""),
    "chunks": (chunked(b""), b"1\r\n \r\n"),
    "the size of a chunk": (chunked(b""), b"0"),
    "an extension": (chunked(b"4a;"), b"x"),
    "trailers": (chunked(chunk() + LAST[:3]), b"x: y\r\n"),
    "an extension of 100 KB": (chunked(b"4a;" + b"x" * 100_000), b""),
    "a size of 100 KB": (chunked(b"0" * 100_000), b""),
    "a long body": (post(LONG[:-1], length=b"1000000"), b" "),
    "a long body that stops": (post(LONG[:-1], length=b"1000000"), b""),
    "an extension of 100 KB behind a long body": (chunked(chunk(LONG[:-1]) + b"4a;" + b"x" * 100_000), b""),
    "an extension of 100 KB on a path that is none": (ENDLESS.replace(b"/v1/", b"/v2/"), b""),
}
"""What comes at once, and what drips after it."""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    times = {
        "timeout http-request 30s": f"timeout http-request {REQUEST_SECONDS}s",
        "timeout client 60s": f"timeout client {2 * REQUEST_SECONDS}s",
    }
    with (
        simulated_replicas(["127.0.1.31"]) as (replica,),
        local_gateway([replica.address], address="127.0.1.3", replaced=times) as gateway,
    ):
        yield gateway, replica


def dripped(gateway: LocalGateway, first: bytes, more: bytes) -> bytes:
    """Send `more` again and again until the gateway closes, and return what it said. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    received = b""
    with connect(gateway) as client:
        send(client, first)
        client.settimeout(0.05)
        while time.monotonic() < deadline:
            try:
                data = client.recv(65536)
            except TimeoutError:
                send(client, more)
                continue
            except ConnectionError:
                return received
            if not data:
                return received
            received += data
    raise TimeoutError(f"the gateway still listens; it said {received!r}")


def test_a_slow_request_does_not_hold_its_connection(served: Served) -> None:
    gateway, replica = served
    before = replica.seen()["heads"]

    with ThreadPoolExecutor(len(SLOW)) as threads:
        said = dict(zip(SLOW, threads.map(lambda slow: dripped(gateway, *slow), SLOW.values()), strict=True))

    # HAProxy 2.6.12-1+deb12u4 says at once what is wrong with 100 KB between two chunks; others just close.
    assert {name: text for name, text in said.items() if text[:12] not in (b"", b"HTTP/1.1 400")} == {}
    assert [name for name, text in said.items() if text and "100 KB" not in name] == []
    assert replica.seen()["heads"] == before
    assert [answer.status for answer in exchange(gateway, post())] == [200]


def test_an_endless_chunk_does_not_keep_the_gateway_busy(served: Served) -> None:
    # HAProxy 3.0.11 would burn a core for ever, had it answered.
    gateway, _ = served
    dripped(gateway, ENDLESS, b"")
    dripped(gateway, chunked(b"4a;" + b"x" * 100_000), b"")
    for target in (b"/v1/models", b"/v1/nothing"):
        dripped(gateway, chunked(b"4a;" + b"x" * 100_000).replace(CHAT, target, 1), b"")

    before = cpu_seconds(gateway)
    time.sleep(1.0)

    assert cpu_seconds(gateway) - before < 0.2


def test_slow_http2_headers_do_not_hold_their_connection(served: Served) -> None:
    gateway, replica = served
    before = replica.seen()["heads"]

    with connect(gateway) as client:
        client.settimeout(PATIENCE_SECONDS)
        send(client, PREFACE + frame(4, b"", stream=0) + frame(1, b""))
        assert read_to_end(client)

    assert replica.seen()["heads"] == before


@pytest.mark.parametrize("body", [JSON, LONG], ids=["short", "long"])
def test_a_client_that_hangs_up_before_the_end_is_not_carried_on(served: Served, body: bytes) -> None:
    gateway, replica = served
    before = replica.seen()["heads"]
    data = post(body)

    for cut in range(0, len(data), max(1, len(data) // 40)):
        client = connect(gateway)
        send(client, data[:cut])
        if cut % 2:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    assert [answer.status for answer in exchange(gateway, post())] == [200]
    assert replica.seen()["heads"] == before + 1


def test_a_client_that_leaves_a_stream_stops_its_replica(served: Served) -> None:
    gateway, replica = served
    before = replica.seen()["aborted"]
    replica.set(chunks=2000, gap_seconds=0.01)
    try:
        with connect(gateway) as client:
            send(client, post(document(stream=True)))
            assert read_some(client).startswith(b"HTTP/1.1 200")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while replica.seen()["aborted"] == before:
            assert time.monotonic() < deadline, "the replica still writes"
            time.sleep(0.02)
    finally:
        replica.set(chunks=5, gap_seconds=0.0)


def test_the_corpus_leaves_nothing_behind_in_memory(served: Served) -> None:
    gateway, replica = served
    before = replica.seen()["heads"]
    rounds = []
    for _ in range(ROUNDS):
        for case in CORPUS:
            with connect(gateway) as client:
                send(client, case.data)
                if case.half_close:
                    half_close(client)
                read_some(client)
        rounds.append({part: resident_kb(gateway, part) for part in ("haproxy", "long_prompts")})

    assert replica.seen()["heads"] == before
    for part, settled in rounds[2].items():
        assert max(found[part] for found in rounds[3:]) - settled <= MOST_GROWTH_KB, rounds


def cpu_seconds(gateway: LocalGateway) -> float:
    stat = Path(f"/proc/{gateway.parts['haproxy'].process.pid}/stat").read_text()
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def resident_kb(gateway: LocalGateway, part: str) -> int:
    status = Path(f"/proc/{gateway.parts[part].process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1])
