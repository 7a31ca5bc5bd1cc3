"""Simulated pods with traffic, and an operator that hears them: both run in the cluster's own network."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from e2e.children import eventually
from e2e.cluster.provider import Cluster
from e2e.kubectl import Kubectl
from tests.integration.operator_process import READY_SECONDS, STOP_SECONDS
from tests.integration.traffic_program import ANSWERED, Traffic


REPOSITORY = Path(__file__).parents[2]
OPERATOR_PORT = 18080
"""In the cluster's own network."""
SCRAPE_SECONDS = 0.5


class Simulated:
    """The traffic of one namespace's simulated pods."""

    def __init__(self, user: Kubectl, path: Path) -> None:
        self.user = user
        self._path = path
        self._traffic = Traffic()
        self._answered = path.parent / ANSWERED
        self._answered.mkdir()
        self.change()

    def change(self, **numbers: Any) -> None:  # noqa: ANN401 - fields of Traffic
        """Change the traffic from now on."""
        self._traffic = replace(self._traffic, **numbers)
        draft = self._path.with_suffix(".draft")
        draft.write_text(self._traffic.encode())
        draft.replace(self._path)

    def silence(self, *pods: str) -> None:
        """Let these pods, which have been reached, be reached by nobody from now on."""
        addresses = [self._address(pod) for pod in pods]
        eventually(lambda: all((self._answered / each).exists() for each in addresses), "the operator has asked them")
        self.change(silent=(*self._traffic.silent, *addresses))

    def keep_busy(self, *pods: str) -> None:
        """Let these replicas, and no others, have requests from now on."""
        self.change(busy=tuple(self._address(pod) for pod in pods))

    def notify(self, pod: str, deadline: float) -> None:
        """Let the pod's cloud announce its end to it."""
        self.change(noticed={**self._traffic.noticed, self._address(pod): deadline})

    def _address(self, pod: str) -> str:
        address: str = self.user.json("get", "pod", pod)["status"]["podIP"]
        return address


@contextmanager
def simulated_traffic(cluster: Cluster, user: Kubectl, scratch: Path) -> Iterator[Simulated]:
    """Play the pods of the cluster as long as it is open."""
    path = scratch / "traffic.json"
    traffic = Simulated(user, path)
    command = [*cluster.enter(), sys.executable, "-m", "tests.integration.traffic_program", str(path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == b"up\n"
            yield traffic
        finally:
            program.kill()
            program.wait(timeout=STOP_SECONDS)


@contextmanager
def hearing_operator(
    cluster: Cluster, namespace: str, log: Path, *, kubeconfig: Path | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run an operator that reaches simulated pods, and kill it afterwards. It is ready, or has died, in between."""
    command = [
        *cluster.enter(),
        sys.executable,
        "-m",
        "gptoss_operator",
        "--server-image=server:1",
        "--gateway-image=gateway:1",
        "--activator-image=activator:1",
        f"--namespaces={namespace}",
        "--http-host=127.0.0.1",
        f"--http-port={OPERATOR_PORT}",
        f"--scrape-seconds={SCRAPE_SECONDS}",
    ]
    environment = {**cluster.environment(), "KUBECONFIG": str(kubeconfig or cluster.inner_kubeconfig)}
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT) as operator,
    ):
        try:
            eventually(lambda: _is_ready(operator, log), "the operator is ready", seconds=READY_SECONDS)
            yield operator
        finally:
            operator.kill()
            operator.wait(timeout=STOP_SECONDS)
            print(log.read_text())  # noqa: T201 - pytest shows it when the test fails


def _is_ready(operator: "subprocess.Popen[bytes]", log: Path) -> bool:
    return "Everything is listed" in log.read_text() or operator.poll() is not None
