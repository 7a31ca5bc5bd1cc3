"""The operator as a process of its own, serving one namespace of a test's API server."""

import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

from e2e.children import eventually
from e2e.cluster.provider import Cluster
from e2e.ports import free_ports


READY_SECONDS = 60
STOP_SECONDS = 15


class OperatorProcess:
    """The operator. As a context manager it is ready inside the block, and killed after it if it still runs."""

    def __init__(
        self, api: Cluster, namespace: str, log: Path, *, kubeconfig: Path | None = None, lease: str = ""
    ) -> None:
        """`lease` is the name of a Lease in `namespace` that it shares with others. Empty: it works alone."""
        (self.port,) = free_ports(1)
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "gptoss_operator",
                    "--server-image=server:1",
                    "--gateway-image=gateway:1",
                    "--activator-image=activator:1",
                    f"--namespaces={namespace}",
                    f"--lease-namespace={namespace}",
                    f"--lease-name={lease}",
                    "--http-host=127.0.0.1",
                    f"--http-port={self.port}",
                    # Simulated pods have addresses of the cluster's own network, which this process is not in.
                    "--scrape-seconds=0",
                ],
                env={**api.environment(), "KUBECONFIG": str(kubeconfig or api.kubeconfig)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        eventually(
            lambda: self.get("/readyz") == "ok\n" or not self.alive(), "the operator is ready", seconds=READY_SECONDS
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait(timeout=STOP_SECONDS)

    def stop(self) -> int:
        """End it as Kubernetes does, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=STOP_SECONDS)

    def get(self, path: str) -> str | None:
        """Return the body of an answer 200, or None."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as response:
                body: bytes = response.read()
                return body.decode()
        except OSError:
            return None

    def leads(self) -> bool:
        """Whether it works, of several with the same Lease."""
        return "gptoss_operator_leader 1.0" in (self.get("/metrics") or "")

    def quiet_passes(self) -> float:
        """Return how many passes wrote nothing, by the operator's own count."""
        lines = (self.get("/metrics") or "").splitlines()
        return sum(float(line.split()[-1]) for line in lines if 'reconcile_total{result="quiet"}' in line)
