"""What the gateway alone is measured by: turns, requests held at zero, and clients that do not read."""

import json
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from e2e.bench.errors import BenchError
from e2e.bench.gateway.haproxy_stats import server_stats
from e2e.bench.gateway.items import Bench, failures
from e2e.bench.gateway.load import API_KEY, RunningLoad
from e2e.bench.gateway.stubs import reset_all, set_all
from e2e.bench.gateway.subject import Subject
from e2e.bench.gateway.subjects import GATEWAY
from e2e.bench.processes import resident_mb
from e2e.bench.rows import Row
from e2e.gateway.local import MODEL, LocalGateway
from gptoss_runtime.gateway_contract import GatewayGauge


TURNS, HELD, SLOW_CLIENTS = "turns", "held", "slow clients"
TURN_REQUESTS = 8000
HELD_REQUESTS = 1000
HELD_SECONDS = 30.0
SLOW_COUNT = 40
SLOW_SECONDS = 10
SLOW_STREAM = "<<chunks=100000 gap_us=10000 chunk_bytes=16384>>"
"""1.6 MB in a second: what the kernel takes for a client that does not read is used up after some seconds."""
SETTLE_SECONDS = 3.0
LOOK_SECONDS = 0.01


def turns(bench: Bench, subject: Subject, number: int) -> Row:
    """Count how evenly requests are spread."""
    set_all(bench.stubs, delay_us=0)
    reset_all(bench.stubs)
    load = RunningLoad(bench.programs.load, subject, 64, {"requests": TURN_REQUESTS, "seconds": 20})
    outcome = load.outcome()
    counts = [stub.seen().posts for stub in bench.stubs]
    spread = float(max(counts) - min(counts))
    return Row(item=TURNS, subject=GATEWAY, round=number, values={"spread": spread, **failures(outcome)})


def held(bench: Bench, subject: Subject, gateway: LocalGateway, number: int) -> Row:
    """Hold 1,000 requests while no replica is ready, and see when they are answered once all four are."""
    set_all(bench.stubs, delay_us=0, ready=0)
    _await("the replicas are out", lambda: not any(one.is_up for one in server_stats(gateway.run).values()))
    load = RunningLoad(
        bench.programs.load, subject, HELD_REQUESTS, {"requests": HELD_REQUESTS, "seconds": 60, "patience": 30}
    )
    try:
        _await(f"{HELD_REQUESTS} requests are held", lambda: _held_now(gateway) >= HELD_REQUESTS)
        ready = time.monotonic_ns()
        set_all(bench.stubs, ready=1)
        outcome = load.outcome()
    finally:
        load.kill()
    values = {
        "first_answer_ms": (outcome.first_ok_ns - ready) / 1e6,
        "median_answer_ms": (outcome.median_ok_ns - ready) / 1e6,
        "last_answer_ms": (outcome.last_ok_ns - ready) / 1e6,
    }
    return Row(item=HELD, subject=GATEWAY, round=number, values=values | failures(outcome))


def slow_clients(bench: Bench, subject: Subject, number: int) -> Row:
    """Let clients read nothing for ten seconds, while 400 streams run."""
    set_all(bench.stubs, gap_us=20000, chunks=50, chunk_bytes=6, ttft_us=0)
    seconds = SLOW_SECONDS + SETTLE_SECONDS + 2
    load = RunningLoad(
        bench.programs.load, subject, 400, {"stream": True, "seconds": seconds, "stagger_us": 2500, "patience": 20}
    )
    try:
        time.sleep(SETTLE_SECONDS)
        before = resident_mb(subject.pids), resident_mb(subject.proxy_pids)
        with _readers_of_nothing(subject):
            after = before
            deadline = time.monotonic() + SLOW_SECONDS
            while time.monotonic() < deadline:
                now = resident_mb(subject.pids), resident_mb(subject.proxy_pids)
                after = max(after[0], now[0]), max(after[1], now[1])
                time.sleep(0.2)
        outcome = load.outcome()
    finally:
        load.kill()
    values = {
        "rss_before_mb": before[0],
        "rss_growth_mb": after[0] - before[0],
        "rss_before_mb_of_proxy": before[1],
        "rss_growth_mb_of_proxy": after[1] - before[1],
    }
    return Row(item=SLOW_CLIENTS, subject=GATEWAY, round=number, values=values | failures(outcome))


@contextmanager
def _readers_of_nothing(subject: Subject) -> Iterator[None]:
    body = json.dumps({"model": MODEL, "stream": True, "messages": [{"role": "user", "content": SLOW_STREAM}]})
    body = body.replace('"stream": true', '"stream":true')
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {API_KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with ExitStack() as stack:
        for _ in range(SLOW_COUNT):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((subject.address, subject.port))
            client.sendall((head + body).encode())
        yield


def _held_now(gateway: LocalGateway) -> float:
    url = f"http://{gateway.address}:{gateway.activator_port}/state"
    with urllib.request.urlopen(url, timeout=5) as answer:
        return float(json.load(answer)["gauges"].get(GatewayGauge.HELD, 0))


def _await(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HELD_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise BenchError(f"after {HELD_SECONDS:.0f} s it is not so that {what}")
        time.sleep(LOOK_SECONDS)
