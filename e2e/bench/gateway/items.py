"""What is measured of each subject in turn: streams, too many streams, and as many requests as go."""

import time
from dataclasses import dataclass

from e2e.bench.gateway.load import Outcome, RunningLoad, run_wrk
from e2e.bench.gateway.native import Programs
from e2e.bench.gateway.stubs import Stub, reset_all, set_all
from e2e.bench.gateway.subject import Subject
from e2e.bench.machine import Meter
from e2e.bench.processes import cpu_seconds, peak_resident_mb
from e2e.bench.rows import Row


STREAMS, OVERLOAD, REQUESTS = "streams", "overload", "requests"
CHUNKS = 50
GAP_US = 5000
AFTERMATH_SECONDS = 0.5
"""What a proxy still does when the load has ended, such as reading its log, counts as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured."""

    rounds: int
    wrk_seconds: int = 3
    streams: int = 1600
    overload_streams: int = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What every measurement needs."""

    programs: Programs
    stubs: list[Stub]
    sizes: Sizes


def measure(bench: Bench, subject: Subject, number: int) -> list[Row]:
    """Return a row for each item, of one subject in one round."""
    set_all(
        bench.stubs, gap_us=GAP_US, chunks=CHUNKS, chunk_bytes=6, delay_us=0, ttft_us=0, usage_port=subject.usage_port
    )
    rows = [
        _streams(bench, subject, number, item=STREAMS, connections=100, count=bench.sizes.streams),
        _streams(bench, subject, number, item=OVERLOAD, connections=400, count=bench.sizes.overload_streams),
    ]
    # The last, since the log of so many requests takes memory.
    return [*rows, _requests(bench, subject, number)]


def _streams(bench: Bench, subject: Subject, number: int, *, item: str, connections: int, count: int) -> Row:
    reset_all(bench.stubs)
    with_load = Used(bench, subject)
    load = RunningLoad(
        bench.programs.load,
        subject,
        connections,
        # Begun one after the other over the length of one stream, so that chunks of all are spread evenly.
        {"stream": True, "requests": count, "seconds": 20, "stagger_us": GAP_US * CHUNKS // connections},
    )
    outcome = load.outcome()
    used = with_load.read()
    values = {
        "streams_per_second": outcome.ok / outcome.seconds,
        "errors": float(outcome.errors + outcome.cut),
        "ttft_p50_ms": outcome.ttft_us.p50 / 1e3,
        "ttft_p99_ms": outcome.ttft_us.p99 / 1e3,
        "chunk_delay_p50_ms": outcome.event_delay_us.p50 / 1e3,
        "chunk_delay_p99_ms": outcome.event_delay_us.p99 / 1e3,
        "jitter_p99_ms": outcome.jitter_us.p99 / 1e3,
        **used.shares(outcome.ok, "cpu_s_per_1000_streams", 1000),
        **memory(subject),
    }
    return Row(item=item, subject=subject.name, round=number, values=values | used.others)


def _requests(bench: Bench, subject: Subject, number: int) -> Row:
    run_wrk(subject, 1)
    time.sleep(AFTERMATH_SECONDS)
    reset_all(bench.stubs)
    with_load = Used(bench, subject)
    outcome = run_wrk(subject, bench.sizes.wrk_seconds)
    used = with_load.read()
    values = {
        "requests_per_second": outcome.requests / outcome.microseconds * 1e6,
        "errors": float(outcome.errors),
        "p50_ms": outcome.p50_us / 1e3,
        "p99_ms": outcome.p99_us / 1e3,
        **used.shares(outcome.requests, "cpu_us_per_request", 1e6),
        **memory(subject),
    }
    if used.cpu:
        values["requests_per_cpu_second"] = outcome.requests / used.cpu
        values["requests_per_cpu_second_of_proxy"] = outcome.requests / used.proxy_cpu
    return Row(item=REQUESTS, subject=subject.name, round=number, values=values | used.others)


def memory(subject: Subject) -> dict[str, float]:
    """Return the most memory that a subject has had, in all and its proxy alone."""
    if not subject.pids:
        return {}
    return {"rss_mb": peak_resident_mb(subject.pids), "rss_mb_of_proxy": peak_resident_mb(subject.proxy_pids)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a subject used while something was measured."""

    cpu: float
    """Seconds, of all its processes."""
    proxy_cpu: float
    others: dict[str, float]
    """Cores that other processes used, and that were stolen."""

    def shares(self, count: int, name: str, scale: float) -> dict[str, float]:
        """Return the CPU time for each of `count`, in all and of the proxy alone."""
        if not self.cpu or not count:
            return {}
        return {name: self.cpu / count * scale, f"{name}_of_proxy": self.proxy_cpu / count * scale}


class Used:
    """Begins to count what a subject uses."""

    def __init__(self, bench: Bench, subject: Subject) -> None:
        self._subject = subject
        self._meter = Meter([*subject.pids, *(stub.process.pid for stub in bench.stubs)])
        self._cpu = cpu_seconds(subject.pids)
        self._proxy_cpu = cpu_seconds(subject.proxy_pids)

    def read(self) -> Use:
        """Return what was used until now, and shortly after."""
        others = self._meter.read()
        if self._subject.pids:
            time.sleep(AFTERMATH_SECONDS)
        return Use(
            cpu=cpu_seconds(self._subject.pids) - self._cpu,
            proxy_cpu=cpu_seconds(self._subject.proxy_pids) - self._proxy_cpu,
            others=others,
        )


def failures(outcome: Outcome) -> dict[str, float]:
    """Return the errors of an outcome by kind, for a row."""
    return {
        "errors": float(outcome.errors),
        "cut": float(outcome.cut),
        "refused": float(outcome.refused),
        "failed": float(outcome.failed),
        "unanswered": float(outcome.unanswered + outcome.unconnected),
        "incomplete": float(outcome.incomplete),
        "dropped": float(outcome.dropped + outcome.stuck),
        "ok": float(outcome.ok),
    }
