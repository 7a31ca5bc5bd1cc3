"""The operator as a process of its own."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster.provider import Cluster


OPERATOR = str(Path(sys.executable).with_name("gptoss-operator"))
START_SECONDS = 30
STOP_SECONDS = 15


@contextmanager
def operator(
    cluster: Cluster, log: Path, *, kubeconfig: Path | None = None, namespaces: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the operator until the block ends; it is then killed if it still runs."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                OPERATOR,
                "--server-image=server:1",
                "--gateway-image=gateway:1",
                "--http-host=127.0.0.1",
                f"--http-port={_free_port()}",
                f"--namespaces={namespaces}",
            ],
            env={**cluster.environment(), "KUBECONFIG": str(kubeconfig or cluster.kubeconfig)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def stop(process: subprocess.Popen[bytes]) -> int:
    """End the operator as Kubernetes does, and return its exit status."""
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=STOP_SECONDS)
