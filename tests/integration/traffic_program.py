"""Plays simulated pods: answers `/state` at every address, on the port of replicas and on that of gateways.

Run inside the cluster's network, where all pods' addresses are this one program's. Its argument is a file, `Traffic` as
JSON, which the test replaces as the traffic changes. The port that is asked decides what is played. Each address that
has answered once is a file of that name in the directory `ANSWERED` beside it.
"""

import json
import sys
import threading
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from gptoss_runtime.contract import HEALTH_PORT, Gauge, Notice, NoticeKind, Phase, ReplicaState, Verdict
from gptoss_runtime.gateway_contract import ACTIVATOR_PORT, GatewayCounter, GatewayGauge, GatewayState


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What gateways and replicas have to do now. All numbers of gateways are those of each one."""

    arrivals_per_second: float = 0.0
    in_flight: float = 0.0
    queued: float = 0.0
    held: float = 0.0
    max_num_seqs: float = 100.0
    """Requests that a replica may run at once."""
    busy: tuple[str, ...] = ()
    """Addresses of replicas that have `BUSY` requests; the others have none."""
    silent: tuple[str, ...] = ()
    """Addresses at which nobody answers any more, and which no gateway reaches."""
    noticed: dict[str, float] = field(default_factory=dict)
    """Addresses whose cloud has announced their end, and when it comes, in seconds since 1970."""

    def encode(self) -> str:
        """Return the text of the file."""
        return json.dumps(asdict(self))


ANSWERED = "answered"
BUSY = 5.0
WELL = Verdict(ready=True, live=True, reason="vLLM is up")
BEGUN = time.time()


class Played:
    """What has been said so far, by address."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._answered = path.parent / ANSWERED
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = defaultdict(int)
        self._arrivals: dict[str, tuple[float, float]] = {}
        self._replicas: set[str] = set()

    def state(self, address: str, port: int) -> str | None:
        """Return the document of the pod at `address`, or None where nobody answers."""
        traffic = Traffic(**json.loads(self._path.read_text()))
        with self._lock:
            if address in traffic.silent:
                return None
            self._numbers[address] += 1
            (self._answered / address).touch()
            return self._replica(address, traffic) if port == HEALTH_PORT else self._gateway(address, traffic)

    def _replica(self, address: str, traffic: Traffic) -> str:
        self._replicas.add(address)
        running = BUSY if address in traffic.busy else 0.0
        deadline = traffic.noticed.get(address)
        notice = Notice(kind=NoticeKind.TERMINATION, source="simulated", deadline=deadline) if deadline else None
        return ReplicaState(
            start_id="one",
            sequence=self._numbers[address],
            phase=Phase.READY,
            verdict=WELL,
            uptime_seconds=time.time() - BEGUN,
            gauges={
                Gauge.MAX_NUM_SEQS: traffic.max_num_seqs,
                Gauge.REQUESTS_RUNNING: running,
                Gauge.REQUESTS_WAITING: 0.0,
                Gauge.REQUESTS_IN_FLIGHT: running,
                Gauge.KV_CACHE_USAGE: 0.0,
            },
            notice=notice,
        ).encode()

    def _gateway(self, address: str, traffic: Traffic) -> str:
        now = time.time()
        came, until = self._arrivals.get(address, (0.0, now))
        came += traffic.arrivals_per_second * (now - until)
        self._arrivals[address] = (came, now)
        return GatewayState(
            start_id="one",
            sequence=self._numbers[address],
            uptime_seconds=now - BEGUN,
            counters={GatewayCounter.ARRIVALS: float(int(came)), GatewayCounter.SHED: 0.0},
            gauges={
                GatewayGauge.IN_FLIGHT: traffic.in_flight,
                GatewayGauge.QUEUED: traffic.queued,
                GatewayGauge.HELD: traffic.held,
                GatewayGauge.OLDEST_HELD_SECONDS: 1.0 if traffic.held else 0.0,
            },
            replicas={replica: replica not in traffic.silent for replica in self._replicas},
        ).encode()


class Handler(BaseHTTPRequestHandler):
    """One connection of the operator."""

    protocol_version = "HTTP/1.1"
    played: Played

    def do_GET(self) -> None:
        address, port = self.connection.getsockname()[:2]
        document = self.played.state(address, port) if self.path == "/state" else ""
        if document is None:
            self.close_connection = True
            return
        body = document.encode()
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing for each question."""


def main() -> None:
    """Answer until it is killed; say `up` when both ports are open."""
    Handler.played = Played(Path(sys.argv[1]))
    with (
        ThreadingHTTPServer(("0.0.0.0", HEALTH_PORT), Handler) as replicas,
        ThreadingHTTPServer(("0.0.0.0", ACTIVATOR_PORT), Handler) as gateways,
    ):
        threading.Thread(target=gateways.serve_forever, daemon=True).start()
        print("up", flush=True)  # noqa: T201 - the test waits for it
        replicas.serve_forever()


if __name__ == "__main__":
    main()
