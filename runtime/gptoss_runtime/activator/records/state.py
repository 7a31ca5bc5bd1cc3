"""What the operator hears of this gateway: totals since the start, and how many requests there are now."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gptoss_runtime.activator.haproxy.servers import Replicas, ServerStatus
from gptoss_runtime.activator.records.line import CLIENT_ERROR, SERVER_ERROR, Ended, Line, was_for_replicas
from gptoss_runtime.activator.records.record import Record
from gptoss_runtime.activator.records.telemetry import Held
from gptoss_runtime.gateway_contract import QUEUE_FULL, GatewayCounter, GatewayGauge, GatewayState, Usage


_BROKE_OFF = frozenset({Ended.REPLICA_LOST, Ended.GATEWAY_ERROR, Ended.TIMEOUT})


@dataclass(slots=True)
class Totals:
    """Totals since the start of the activator."""

    finished: int = 0
    failed: int = 0
    refused: int = 0
    shed: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    _arrivals: int = 0

    def count(self, lines: Iterable[Line], records: Iterable[Record]) -> None:
        """Count requests that have ended."""
        for line, record in zip(lines, records, strict=True):
            if was_for_replicas(line, record.ended):
                self.finished += 1
                self.retries += record.retries
                if record.status >= SERVER_ERROR or (line.ended != "--" and record.ended in _BROKE_OFF):
                    self.failed += 1
            elif CLIENT_ERROR <= record.status < SERVER_ERROR:
                self.refused += 1
                if record.code == QUEUE_FULL:
                    self.shed += 1

    def count_tokens(self, usage: Usage) -> None:
        """Count the tokens of a request."""
        self.prompt_tokens += usage.prompt_tokens
        self.generation_tokens += usage.generation_tokens

    def arrivals(self, running: int) -> int:
        """Return how many requests have come for a replica, `running` of which have not ended.

        Never less than before: a request that has just ended is not running any more, and its line is on the way.
        """
        self._arrivals = max(self._arrivals, self.finished + running)
        return self._arrivals


@dataclass(slots=True, kw_only=True)
class StateWriter:
    """Makes one document after the other."""

    start_id: str
    started: float
    """When the activator started, by the clock that `now` is of."""
    _sequence: int = 0

    def state(
        self, totals: Totals, held: Held, replicas: Replicas | None, now: float, *, ttft_ms: Mapping[str, float]
    ) -> GatewayState:
        """Return the document of now. `replicas` is None while HAProxy does not answer: what it would say is absent."""
        self._sequence += 1
        gauges: dict[str, float] = {
            GatewayGauge.HELD: held.now,
            GatewayGauge.OLDEST_HELD_SECONDS: held.oldest_seconds,
        }
        running = held.now
        alive: dict[str, bool] = {}
        if replicas is not None:
            running += replicas.backend.running + replicas.backend.queued
            gauges[GatewayGauge.IN_FLIGHT] = replicas.backend.running
            gauges[GatewayGauge.QUEUED] = replicas.backend.queued
            gauges[GatewayGauge.REPLICAS_UP] = len(replicas.up())
            alive = {server.address: server.status is not ServerStatus.DOWN for server in replicas.servers}
        return GatewayState(
            start_id=self.start_id,
            sequence=self._sequence,
            uptime_seconds=now - self.started,
            counters={
                GatewayCounter.ARRIVALS: totals.arrivals(running),
                GatewayCounter.FINISHED: totals.finished,
                GatewayCounter.FAILED: totals.failed,
                GatewayCounter.REFUSED: totals.refused,
                GatewayCounter.SHED: totals.shed,
                GatewayCounter.RETRIES: totals.retries,
                GatewayCounter.HELD: held.total,
                GatewayCounter.PROMPT_TOKENS: totals.prompt_tokens,
                GatewayCounter.GENERATION_TOKENS: totals.generation_tokens,
            },
            gauges=gauges,
            replicas=alive,
            ttft_ms=dict(ttft_ms),
        )
