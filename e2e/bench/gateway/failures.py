"""What clients see when a replica is killed, hangs, or is to leave."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from e2e.bench.gateway.haproxy_stats import ServerStats, server_stats
from e2e.bench.gateway.items import Bench, failures
from e2e.bench.gateway.load import Outcome, RunningLoad
from e2e.bench.gateway.stubs import Stub, reset_all, set_all
from e2e.bench.gateway.subject import Subject
from e2e.bench.gateway.subjects import GATEWAY
from e2e.bench.rows import Row


KILLED, HUNG, WATCHDOG, DRAINED = "killed", "hung", "watchdog", "drained"
BODIES = ",".join(map(str, (1024,) * 6 + (4096,) * 5 + (16384,) * 4 + (65536,) * 2 + (262144,) * 2 + (2097152,)))
"""In turn: mostly short, up to 2 MB."""
RATE = 200
SLOW = {"delay_us": 20000, "ttft_us": 50000, "gap_us": 5000, "chunks": 50, "chunk_bytes": 6}
"""So that some requests are always under way."""
BEFORE_SECONDS = 2.0
AWAY_SECONDS = 2.0
HUNG_AFTER_VERDICT_SECONDS = 2.0
LONGEST_VERDICT_SECONDS = 10.0
LOOK_SECONDS = 0.01


def killed(bench: Bench, subject: Subject, number: int) -> Row:
    """Kill one of four under load with bodies of 1 KB to 2 MB and with streams, and start it again."""
    set_all(bench.stubs, **SLOW)
    victim = bench.stubs[1]
    with _Loads(bench, subject, seconds=7, bodies=BODIES) as loads:
        time.sleep(BEFORE_SECONDS)
        victim.kill()
        time.sleep(AWAY_SECONDS)
        victim.restart(**SLOW, usage_port=subject.usage_port)
        requests, streams = loads.outcomes()
    seen = victim.seen()
    back = {"back_ms": (seen.first_post_ns - seen.ready_since_ns) / 1e6} if seen.posts else {}
    return _row(KILLED, number, requests, streams, **back)


def hung(bench: Bench, subject: Subject, run_directory: Path, number: int) -> Row:
    """Let one of four hang, health check and all, and watch how long requests still go to it."""
    set_all(bench.stubs, **SLOW)
    victim = bench.stubs[2]
    with _Loads(bench, subject, seconds=12) as loads:
        time.sleep(BEFORE_SECONDS)
        victim.stop()
        try:
            watched = _watch(run_directory, victim)
        finally:
            victim.go_on()
        requests, streams = loads.outcomes()
    return _row(HUNG, number, requests, streams, **watched)


def watchdog(bench: Bench, subject: Subject, number: int) -> Row:
    """Let one of four take requests and answer none, while its own watchdog says so on /readyz."""
    set_all(bench.stubs, **SLOW)
    victim = bench.stubs[3]
    with _Loads(bench, subject, seconds=6) as loads:
        time.sleep(BEFORE_SECONDS)
        said = time.monotonic_ns()
        victim.set(hang=1, ready=0)
        time.sleep(AWAY_SECONDS)
        last = victim.seen().last_post_ns
        victim.set(hang=0, ready=1)
        requests, streams = loads.outcomes()
    return _row(WATCHDOG, number, requests, streams, last_request_s=max(last - said, 0) / 1e9)


def drained(bench: Bench, subject: Subject, number: int) -> Row:
    """Let the agent of one of four say `drain`, under requests and streams."""
    set_all(bench.stubs, **SLOW)
    victim = bench.stubs[0]
    with _Loads(bench, subject, seconds=6) as loads:
        time.sleep(BEFORE_SECONDS)
        said = time.monotonic_ns()
        victim.set(drain=1)
        time.sleep(AWAY_SECONDS)
        last = victim.seen().last_post_ns
        victim.set(drain=0)
        requests, streams = loads.outcomes()
    return _row(DRAINED, number, requests, streams, last_request_ms=max(last - said, 0) / 1e6)


class _Loads:
    """Requests at a fixed rate and, beside them, 32 streams."""

    def __init__(self, bench: Bench, subject: Subject, *, seconds: int, bodies: str = "2048") -> None:
        reset_all(bench.stubs)
        options = {"seconds": seconds, "patience": 20}
        program = bench.programs.load
        self._requests = RunningLoad(program, subject, 512, {"rate": RATE, "bodies": bodies, **options})
        self._streams = RunningLoad(program, subject, 32, {"stream": True, "stagger_us": 10000, **options})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.kill()
        self._streams.kill()

    def outcomes(self) -> tuple[Outcome, Outcome]:
        """Wait for both to end."""
        return self._requests.outcome(), self._streams.outcome()


@dataclass(slots=True)
class _Watch:
    """What HAProxy's statistics said of one server while it hung; times of the monotonic clock."""

    failed_at: float | None = None
    down_at: float | None = None
    last_request_at: float | None = None

    def values(self, began: float) -> dict[str, float]:
        """Return what is known: seconds since the hang began, and how long requests still came after the verdict."""
        known = {"check_failed_s": self.failed_at, "out_s": self.down_at}
        values = {name: at - began for name, at in known.items() if at is not None}
        if self.down_at is not None:
            values["last_request_s"] = max((self.last_request_at or began) - self.down_at, 0.0)
        return values


def _watch(run_directory: Path, victim: Stub) -> dict[str, float]:
    """Follow HAProxy until the replica has been out for a while."""
    began = time.monotonic()
    before = _stats(run_directory, victim)
    seen, requests = _Watch(), before.requests
    while (now := time.monotonic()) < (seen.down_at or began + LONGEST_VERDICT_SECONDS) + HUNG_AFTER_VERDICT_SECONDS:
        stats = _stats(run_directory, victim)
        if seen.failed_at is None and stats.failed_checks > before.failed_checks:
            seen.failed_at = now
        if seen.down_at is None and not stats.is_up:
            seen.down_at = now
        if stats.requests > requests:
            seen.last_request_at, requests = now, stats.requests
        time.sleep(LOOK_SECONDS)
    return seen.values(began)


def _stats(run_directory: Path, victim: Stub) -> ServerStats:
    return server_stats(run_directory)[victim.address]


def _row(item: str, number: int, requests: Outcome, streams: Outcome, **values: float) -> Row:
    together = failures(requests)
    for name, value in failures(streams).items():
        together[name] += value
    slowest = {"latency_p50_ms": requests.latency_us.p50 / 1e3, "latency_max_ms": requests.latency_us.max / 1e3}
    return Row(item=item, subject=GATEWAY, round=number, values={**values, **together, **slowest})
