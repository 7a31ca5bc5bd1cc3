"""Runs the operator as a process of its own against a test's API server, for one namespace."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from e2e.cluster.commands import run
from e2e.cluster.provider import Cluster


T = TypeVar("T")

WAIT_SECONDS = 60
ROOT = Path(__file__).parents[2]


def kubectl(api: Cluster, namespace: str, *words: str, given: Any = None) -> str:  # noqa: ANN401  (any manifest)
    text = None if given is None else json.dumps(given)
    return run([*api.kubectl(), "-n", namespace, *words], timeout_seconds=30, given=text)


def read(api: Cluster, namespace: str, *words: str) -> Any:  # noqa: ANN401  (a raw object)
    return json.loads(kubectl(api, namespace, "get", *words, "--output=json"))


def wait_for(what: str, check: Callable[[], T | None], alive: Callable[[], bool] = lambda: True) -> T:
    """Return the first answer of `check` that is not None or False."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        answer = check()
        if answer:
            return answer
        assert alive(), f"the operator ended while the test waited for: {what}"
        time.sleep(0.2)
    raise AssertionError(f"not within {WAIT_SECONDS} s: {what}")


class OperatorProcess:
    """The operator, serving one namespace. A context manager: it ends by SIGTERM."""

    def __init__(self, api: Cluster, namespace: str, log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "gptoss_operator",
                    "--server-image=server:1",
                    "--gateway-image=gateway:1",
                    f"--namespaces={namespace}",
                    "--http-host=127.0.0.1",
                    f"--http-port={self.port}",
                ],
                env=os.environ | {"KUBECONFIG": api.kubeconfig},
                cwd=ROOT,
                stderr=output,
            )

    def __enter__(self) -> Self:
        wait_for("the operator is ready", lambda: self.get("/readyz") == "ok\n", self.alive)
        return self

    def __exit__(self, *_: object) -> None:
        if self.alive():
            self.process.terminate()
        try:
            self.process.wait(timeout=10)
        finally:
            self.process.kill()

    def alive(self) -> bool:
        return self.process.poll() is None

    def get(self, path: str) -> str | None:
        """Return the body of an answer 200, or None."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as response:
                body: bytes = response.read()
                return body.decode()
        except (urllib.error.URLError, OSError):
            return None

    def writes(self) -> float:
        """Return how many writes the operator has made, by its own count."""
        lines = (self.get("/metrics") or "").splitlines()
        counts = [line for line in lines if line.startswith("gptoss_operator_api_requests_total{")]
        reads = ('verb="get"', 'verb="list"', 'verb="watch"')
        return sum(float(line.split()[-1]) for line in counts if not any(read in line for read in reads))
