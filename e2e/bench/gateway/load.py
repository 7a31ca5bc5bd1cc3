"""Load: wrk for as many requests as go, native/load.c for everything else."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from e2e.bench.errors import BenchError
from e2e.bench.gateway.native import WRK_SCRIPT
from e2e.bench.gateway.pinning import LOAD
from e2e.bench.gateway.subject import Subject
from e2e.cluster.packages import ensure_packages


WRK: Mapping[str, str] = {"wrk": "wrk", "taskset": "util-linux"}
WRK_CONNECTIONS = 64
END_SECONDS = 30.0
"""How long a load program may take beyond its own time."""
API_KEY = "sk-bench-0123456789abcdef"
"""Also in native/load.c and native/chat.lua."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Of times in microseconds; -1 of none."""

    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What clients saw. The counts are native/load.c's."""

    seconds: float
    ok: int
    refused: int
    """Status 3xx or 4xx."""
    failed: int
    """Status 5xx."""
    unconnected: int
    unanswered: int
    """The connection ended before a head came."""
    incomplete: int
    """It ended after the head, before a token."""
    cut: int
    """A stream that ended early, after its first token."""
    dropped: int
    stuck: int
    events: int
    latency_us: Quantiles
    ttft_us: Quantiles
    event_delay_us: Quantiles
    jitter_us: Quantiles
    first_ok_ns: int
    median_ok_ns: float
    last_ok_ns: int
    first_error_ns: int
    last_error_ns: int
    codes: Mapping[str, int]

    @property
    def errors(self) -> int:
        """Requests that failed before a token was delivered, or never ended."""
        return (
            self.refused
            + self.failed
            + self.unconnected
            + self.unanswered
            + self.incomplete
            + self.dropped
            + self.stuck
        )

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return what the program printed."""
        document: dict[str, Any] = json.loads(text)
        for entry in fields(cls):
            if entry.type is Quantiles:
                document[entry.name] = Quantiles(**document[entry.name])
        return cls(**document)


class RunningLoad:
    """A load that runs beside what is done to the replicas."""

    def __init__(self, program: Path, subject: Subject, connections: int, options: Mapping[str, object]) -> None:
        words = [word for name, value in options.items() for word in _option(name, value)]
        command = [*LOAD, str(program), subject.address, str(subject.port), str(connections), *words]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._longest = float(str(options.get("seconds", 10))) + float(str(options.get("patience", 15))) + END_SECONDS

    def outcome(self) -> Outcome:
        """Wait for the end. Raises BenchError if it does not come."""
        try:
            text, _ = self._process.communicate(timeout=self._longest)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BenchError(f"the load program did not end within {self._longest:.0f} s") from None
        if self._process.returncode != 0:
            raise BenchError(f"the load program failed with exit status {self._process.returncode}")
        return Outcome.decode(text)

    def kill(self) -> None:
        """End it, if it runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


def _option(name: str, value: object) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    return [flag] if value is True else [flag, str(value)]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrkOutcome:
    """What wrk saw."""

    requests: int
    microseconds: int
    errors: int
    p50_us: int
    p99_us: int


def run_wrk(subject: Subject, seconds: int) -> WrkOutcome:
    """Send as many requests as go, over 64 connections, with bodies of 2 KB. Raises BenchError when wrk fails."""
    ensure_packages(WRK)
    url = f"http://{subject.address}:{subject.port}/v1/chat/completions"
    command = [*LOAD, "wrk", "-t1", f"-c{WRK_CONNECTIONS}", f"-d{seconds}s", "-s", str(WRK_SCRIPT), url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + END_SECONDS)
    found = [line for line in done.stdout.splitlines() if line.startswith("JSON ")]
    if not found:
        raise BenchError(f"wrk failed at {url}: {done.stderr or done.stdout}")
    return WrkOutcome(**json.loads(found[0].removeprefix("JSON ")))
