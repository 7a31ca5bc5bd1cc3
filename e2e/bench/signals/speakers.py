"""Speaks for all replicas and gateways, at every loopback address, and tells how often each was asked.

python -m e2e.bench.signals.speakers, prints its three ports: of replicas, of gateways, and of what it has seen.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Final

from gptoss_runtime.contract import Check, CheckResult, Counter, Gauge, Phase, ReplicaState, Verdict
from gptoss_runtime.gateway_contract import GatewayCounter, GatewayGauge, GatewayState


SEQUENCE: Final = b'"sequence":0'
BACKLOG: Final = 8192
TTFT_BOUNDS_MS: Final = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 180000, 600000)

REPLICA: Final = ReplicaState(
    start_id="2f1c7a9e5b6d4c3f8a7b6c5d4e3f2a1b",
    sequence=0,
    phase=Phase.READY,
    verdict=Verdict(ready=True, live=True, reason="vLLM is up and its engine works"),
    uptime_seconds=86400.0,
    counters={
        **dict.fromkeys(Counter, 1234567.0),
        **{f"requests_finished_{reason}": 12345.0 for reason in ("stop", "length", "abort")},
    },
    gauges=dict.fromkeys(Gauge, 17.25),
    startup={Phase.STARTING: 4.1, Phase.LOADING: 61.2, Phase.COMPILING: 38.4, Phase.WARMING: 1.3},
    checks={name: CheckResult(ok=True, detail="the probe's answer is what it was at the start") for name in Check},
)
GATEWAY: Final = GatewayState(
    start_id="9e5b6d4c3f8a7b6c5d4e3f2a1b2f1c7a",
    sequence=0,
    uptime_seconds=86400.0,
    counters=dict.fromkeys(GatewayCounter, 1234567.0),
    gauges=dict.fromkeys(GatewayGauge, 3.0),
    replicas={f"127.1.0.{number}": True for number in range(1, 21)},
    ttft_ms={**{str(bound): 4321.0 for bound in TTFT_BOUNDS_MS}, "inf": 0.0},
)


@dataclass(slots=True)
class Seen:
    """What came in since the last reset."""

    asked: int = 0
    longest_gap_seconds: float = 0.0
    """Between two questions over one connection."""
    connections: int = 0
    last: dict[int, float] = field(default_factory=dict)
    """When each connection was last used, by the connection's `id`."""

    def question(self, connection: int) -> None:
        """Count one question."""
        now = time.monotonic()
        before = self.last.get(connection)
        if before is not None:
            self.longest_gap_seconds = max(self.longest_gap_seconds, now - before)
        self.last[connection] = now
        self.asked += 1

    def document(self) -> bytes:
        """Return it as JSON, and begin again."""
        now = time.monotonic()
        gaps = [self.longest_gap_seconds, *(now - last for last in self.last.values())]
        text = json.dumps({"asked": self.asked, "speakers": len(self.last), "longest_gap_seconds": max(gaps)})
        self.asked, self.longest_gap_seconds = 0, 0.0
        return text.encode()


class Speaker(asyncio.Protocol):
    """One connection to one of them."""

    def __init__(self, document: bytes, seen: Seen) -> None:
        self._before, self._after = document.split(SEQUENCE)
        self._seen = seen
        self._sequence = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer a question, which comes in one piece."""
        del data
        self._sequence += 1
        self._seen.question(id(self))
        body = b'%s"sequence":%d%s' % (self._before, self._sequence, self._after)
        assert self._transport is not None
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection that has ended."""
        del exc
        self._seen.last.pop(id(self), None)


async def _tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
    await reader.readline()
    writer.write(seen.document())
    await writer.drain()
    writer.close()


async def main() -> None:
    """Speak until killed."""
    loop = asyncio.get_running_loop()
    replicas, gateways = Seen(), Seen()
    ports = []
    for state, seen in ((REPLICA, replicas), (GATEWAY, gateways)):
        document = state.encode().encode()

        def speaker(document: bytes = document, seen: Seen = seen) -> Speaker:
            return Speaker(document, seen)

        server = await loop.create_server(speaker, "0.0.0.0", 0, backlog=BACKLOG)  # noqa: S104 - all of loopback
        ports.append(server.sockets[0].getsockname()[1])
    told = await asyncio.start_server(lambda r, w: _tell(r, w, replicas), "127.0.0.1", 0)
    ports.append(told.sockets[0].getsockname()[1])
    print(*ports, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
