"""The operator as a process of its own, and what a user's kubectl sees of its work."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from e2e.cluster.provider import Cluster
from e2e.kubectl import Kubectl


OPERATOR = str(Path(sys.executable).with_name("gptoss-operator"))
START_SECONDS = 30
STOP_SECONDS = 15
KINDS = "statefulsets,deployments,services,configmaps,poddisruptionbudgets"
VOLATILE = ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation")


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


def eventually(check: Callable[[], bool], what: str, *, seconds: float = 30.0) -> None:
    """Ask `check` until it holds. Raises AssertionError with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")


def children(kubectl: Kubectl, deployment: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return everything that the operator made, without what differs from one time to the next."""
    listed = kubectl.items(KINDS, "-l", f"gptoss.dev/deployment={deployment}")
    return {(item["kind"], item["metadata"]["name"]): _stable(item) for item in listed}


def _stable(item: dict[str, Any]) -> dict[str, Any]:
    text = json.loads(json.dumps(item))
    text.pop("status", None)
    for name in VOLATILE:
        text["metadata"].pop(name, None)
    for owner in text["metadata"].get("ownerReferences", []):
        owner.pop("uid", None)
    for name in ("clusterIP", "clusterIPs"):
        if text["kind"] == "Service" and text["spec"].get(name) not in ("None", ["None"]):
            text["spec"].pop(name, None)
    text["metadata"].get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
    stable: dict[str, Any] = text
    return stable
