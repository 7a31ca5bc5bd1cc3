"""The gateway's metrics: what was counted of ended requests, and what HAProxy says now."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gptoss_runtime.activator.haproxy.servers import Replicas, ServerStatus
from gptoss_runtime.activator.records.histogram import TOKEN_BOUNDS_MS, WAIT_BOUNDS_MS, Histogram
from gptoss_runtime.activator.records.line import OK
from gptoss_runtime.activator.records.record import Record, token_ms


PREFIX: Final = "gptoss_gateway"
MOST_TENANTS: Final = 1000
OTHER: Final = "other"
"""Tenant of all requests of tenants beyond the first thousand."""
_BY: Final = ("tenant", "code")


class Series:
    """What was counted of one tenant's requests that ended with one status."""

    __slots__ = ("ended", "generation_tokens", "prompt_tokens", "queue", "request", "token", "ttft")

    def __init__(self) -> None:
        self.queue = Histogram(WAIT_BOUNDS_MS)
        self.ttft = Histogram(WAIT_BOUNDS_MS)
        self.token = Histogram(TOKEN_BOUNDS_MS)
        self.request = Histogram(WAIT_BOUNDS_MS)
        self.ended: dict[str, int] = {}
        self.prompt_tokens = 0
        self.generation_tokens = 0


_HISTOGRAMS: Final[tuple[tuple[str, str, Callable[[Series], Histogram]], ...]] = (
    ("queue_seconds", "Time that requests waited for a place at a replica.", lambda series: series.queue),
    (
        "time_to_first_token_seconds",
        "From the complete request to the first token, queueing included.",
        lambda series: series.ttft,
    ),
    ("time_per_output_token_seconds", "Time between tokens of streams after the first.", lambda series: series.token),
    ("request_seconds", "From a request's first byte to its answer's last.", lambda series: series.request),
)


@dataclass(slots=True)
class Counts:
    """Numbers that are counted elsewhere in the activator and shown here."""

    bad_log_lines: int = 0
    """Lines of HAProxy's log that could not be read."""
    dropped_log_lines: int = 0
    """Lines that were not written, since nobody reads the standard output."""
    bad_datagrams: int = 0
    """Datagrams to the usage port that were not understood, or came from nobody who may send them."""
    bad_key_entries: int = 0
    """Lines of the Secret with API keys that are not used. Goes down when they are corrected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the activator holds."""

    now: int
    total: int
    """Requests that were held since the start."""
    oldest_seconds: float
    """How long the oldest has been held. Zero: none is held."""


NOTHING_HELD: Final = Held(now=0, total=0, oldest_seconds=0.0)


class Telemetry:
    """Metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.counts = Counts()
        self.retries = 0
        self.replicas: Replicas | None = None
        self.held = NOTHING_HELD
        self.series: dict[tuple[str | None, int], Series] = {}
        self._tenants: set[str] = set()
        self.registry.register(_Exposition(self))

    def observe(self, records: Iterable[Record]) -> None:
        """Count requests that have ended, but for their tokens."""
        found = self.series
        # One loop without calls of our own: this is done for every request.
        for record in records:
            series = found.get((record.tenant, record.status))
            if series is None:
                series = self._series(record.tenant, record.status)
            ended = record.ended
            series.ended[ended] = series.ended.get(ended, 0) + 1
            self.retries += record.retries
            value = record.queue_ms
            if value is not None:
                histogram = series.queue
                histogram.counts[bisect_left(WAIT_BOUNDS_MS, value)] += 1
                histogram.sum_ms += value
            value = record.ttft_ms
            if value is not None:
                histogram = series.ttft
                histogram.counts[bisect_left(WAIT_BOUNDS_MS, value)] += 1
                histogram.sum_ms += value
            value = record.total_ms
            if value is not None:
                histogram = series.request
                histogram.counts[bisect_left(WAIT_BOUNDS_MS, value)] += 1
                histogram.sum_ms += value

    def observe_tokens(self, record: Record) -> None:
        """Count the tokens of a request that has ended; it has them."""
        series = self.series.get((record.tenant, record.status)) or self._series(record.tenant, record.status)
        series.prompt_tokens += record.tokens_in or 0
        series.generation_tokens += record.tokens_out or 0
        per_token = token_ms(record)
        if per_token is not None:
            series.token.counts[bisect_left(TOKEN_BOUNDS_MS, per_token)] += 1
            series.token.sum_ms += per_token

    def _series(self, tenant: str | None, status: int) -> Series:
        """Return the series of a tenant, or of all those beyond the first thousand."""
        if tenant is not None and tenant not in self._tenants:
            if len(self._tenants) >= MOST_TENANTS:
                tenant = OTHER
            else:
                self._tenants.add(tenant)
        return self.series.setdefault((tenant, status), Series())

    def now(self, replicas: Replicas | None, held: Held) -> None:
        """Show this as the state of now. `replicas` is None while HAProxy does not answer."""
        self.replicas = replicas
        self.held = held

    def ttft_ms(self) -> dict[str, float]:
        """Return how many answers had their first token within each bound, as in `GatewayState.ttft_ms`."""
        # Errors are quick, and no first token came with them.
        counts = [one.ttft.counts for (_, status), one in self.series.items() if status == OK]
        bounds = (*(str(bound) for bound in WAIT_BOUNDS_MS), "inf")
        return {bound: sum(each) for bound, *each in zip(bounds, *counts, strict=True)} if counts else {}

    def count_bad_datagram(self) -> None:
        """Count a datagram that was not understood, or came from nobody who may send it."""
        self.counts.bad_datagrams += 1


class _Exposition(Collector):
    """All of it, as Prometheus wants it. May run in a thread of its own."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def collect(self) -> Iterable[Metric]:
        telemetry = self._telemetry
        # Copied at once, since requests go on ending.
        series = [((tenant or "", _code(status)), one) for (tenant, status), one in list(telemetry.series.items())]
        for name, text, histogram_of in _HISTOGRAMS:
            family = HistogramMetricFamily(f"{PREFIX}_{name}", text, labels=_BY)
            for labels, one in series:
                histogram = histogram_of(one)
                if any(histogram.counts):
                    family.add_metric(labels, list(histogram.buckets()), histogram.seconds())
            yield family
        requests = CounterMetricFamily(f"{PREFIX}_requests", "Requests that have ended.", labels=(*_BY, "ended"))
        for labels, one in series:
            for ended, count in list(one.ended.items()):
                requests.add_metric((*labels, ended), count)
        yield requests
        tokens = CounterMetricFamily(
            f"{PREFIX}_tokens", "Tokens that replicas reported.", labels=("tenant", "direction")
        )
        for tenant, (prompt, generation) in _tokens(series).items():
            tokens.add_metric((tenant, "prompt"), prompt)
            tokens.add_metric((tenant, "generation"), generation)
        yield tokens
        yield CounterMetricFamily(f"{PREFIX}_retries", "Times that a request was sent once more.", telemetry.retries)
        yield from _own(telemetry.counts)
        yield from _now(telemetry.replicas, telemetry.held)


def _code(status: int) -> str:
    """Return the label of a status; clients that left before there was one have `none`."""
    return str(status) if status > 0 else "none"


def _tokens(series: Iterable[tuple[tuple[str, str], Series]]) -> dict[str, tuple[int, int]]:
    """Return the tokens of prompts and answers by tenant."""
    found: dict[str, tuple[int, int]] = {}
    for (tenant, _), one in series:
        prompt, generation = found.get(tenant, (0, 0))
        found[tenant] = (prompt + one.prompt_tokens, generation + one.generation_tokens)
    return found


def _own(counts: Counts) -> Iterator[Metric]:
    for name, text, value in (
        ("bad_log_lines", "Lines of HAProxy's log that could not be read.", counts.bad_log_lines),
        ("dropped_log_lines", "Log lines that nobody took in time.", counts.dropped_log_lines),
        ("bad_datagrams", "Datagrams to the usage port that were not understood.", counts.bad_datagrams),
    ):
        yield CounterMetricFamily(f"{PREFIX}_{name}", text, value)
    yield GaugeMetricFamily(
        f"{PREFIX}_bad_key_entries", "Lines of the Secret with API keys that are not used.", counts.bad_key_entries
    )


def _now(replicas: Replicas | None, held: Held) -> Iterator[Metric]:
    yield GaugeMetricFamily(f"{PREFIX}_held", "Requests that wait since no replica is ready.", held.now)
    yield CounterMetricFamily(f"{PREFIX}_held_requests", "Requests that had to wait for a replica.", held.total)
    if replicas is None:
        return
    yield GaugeMetricFamily(f"{PREFIX}_queued", "Requests that wait for a place.", replicas.backend.queued)
    in_flight = GaugeMetricFamily(f"{PREFIX}_in_flight", "Requests at a replica.", labels=("replica",))
    slots = GaugeMetricFamily(f"{PREFIX}_replica_slots", "Requests that a replica may run.", labels=("replica",))
    is_up = GaugeMetricFamily(f"{PREFIX}_replica_up", "Whether requests go to a replica.", labels=("replica",))
    for server in replicas.servers:
        in_flight.add_metric((server.address,), server.running)
        is_up.add_metric((server.address,), server.status is ServerStatus.UP)
        if server.slots is not None:
            slots.add_metric((server.address,), server.slots)
    yield from (in_flight, slots, is_up)
