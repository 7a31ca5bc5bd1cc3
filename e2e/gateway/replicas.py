"""Starting, steering and ending simulated replicas."""

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

from gptoss_runtime.contract import HEALTH_PORT


ANSWER_SECONDS = 10.0


class SimulatedReplica:
    """A process that stands for one replica at a loopback address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the process, and wait until its ports answer."""
        command = [sys.executable, "-m", "e2e.gateway.replica", self.address]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the simulated replica at {self.address} did not start")
        return self.process

    def set(self, **behaviour: Any) -> None:  # noqa: ANN401 - fields of Behaviour
        """Change how it behaves."""
        self._ask("set", json.dumps(behaviour).encode())

    def seen(self) -> dict[str, Any]:
        """Return what came since it started."""
        found: dict[str, Any] = json.loads(self._ask("seen"))
        return found

    def kill(self) -> None:
        """End it as SIGKILL does."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _ask(self, page: str, body: bytes | None = None) -> bytes:
        url = f"http://{self.address}:{HEALTH_PORT}/{page}"
        with urllib.request.urlopen(url, data=body, timeout=ANSWER_SECONDS) as answer:
            text: bytes = answer.read()
            return text


@contextlib.contextmanager
def simulated_replicas(addresses: Sequence[str]) -> Iterator[list[SimulatedReplica]]:
    """Run a simulated replica at each loopback address."""
    started: list[SimulatedReplica] = []
    try:
        started.extend(SimulatedReplica(address) for address in addresses)
        yield started
    finally:
        for replica in started:
            if replica.process.poll() is None:
                replica.kill()
