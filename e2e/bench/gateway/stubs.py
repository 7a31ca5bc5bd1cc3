"""Simulated replicas that cost little CPU: native/stub.c at four loopback addresses."""

import contextlib
import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from e2e.bench.errors import BenchError
from e2e.bench.gateway.pinning import LOAD
from gptoss_runtime.contract import HEALTH_PORT


ADDRESSES = ("127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.14")
START_SECONDS = 10.0
ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a simulated replica saw since its start or its last reset."""

    posts: int
    streams: int
    done: int
    aborted: int
    running: int
    peak: int
    first_post_ns: int
    last_post_ns: int
    """Zero: none came."""
    ready_since_ns: int


class Stub:
    """One simulated replica."""

    def __init__(self, program: Path, address: str) -> None:
        self.address = address
        self._program = program
        self.process = self._start()

    def restart(self, **settings: int) -> None:
        """Start it again after it was killed, with `settings`."""
        self.process = self._start()
        self.set(**settings)

    def set(self, **settings: int) -> None:
        """Change how it behaves; names are in native/stub.c."""
        self._get("set?" + "&".join(f"{name}={value}" for name, value in settings.items()))

    def reset(self) -> None:
        """Forget what it saw."""
        self._get("reset")

    def seen(self) -> Seen:
        """Return what it saw."""
        return Seen(**json.loads(self._get("stats")))

    def kill(self) -> None:
        """End it as a lost node does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Make it hang: health, agent and all."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End the hang."""
        self.process.send_signal(signal.SIGCONT)

    def _start(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen([*LOAD, self._program, self.address])
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                self._get("stats")
            except (urllib.error.URLError, OSError):
                time.sleep(0.01)
            else:
                return process
        process.kill()
        process.wait()
        raise BenchError(f"the simulated replica at {self.address} did not start; is another bench running?")

    def _get(self, page: str) -> bytes:
        url = f"http://{self.address}:{HEALTH_PORT}/{page}"
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
            return bytes(answer.read())


@contextlib.contextmanager
def stubs(program: Path) -> Iterator[list[Stub]]:
    """Run a simulated replica at each of the addresses, and end them."""
    started: list[Stub] = []
    try:
        started.extend(Stub(program, address) for address in ADDRESSES)
        yield started
    finally:
        for stub in started:
            if stub.process.poll() is None:
                stub.kill()


def set_all(replicas: list[Stub], **settings: int) -> None:
    """Change how all of them behave."""
    for stub in replicas:
        stub.set(**settings)


def reset_all(replicas: list[Stub]) -> None:
    """Let all of them forget what they saw."""
    for stub in replicas:
        stub.reset()
