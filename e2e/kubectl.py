"""kubectl as the demo and the scenarios use it: like a person, with a bound on every call."""

import json
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from e2e.cluster.provider import Cluster


CALL_SECONDS = 60
FORWARD_SECONDS = 20
FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


class KubectlError(Exception):
    """A call failed; the message is the call and what kubectl said."""


class Kubectl:
    """kubectl for one cluster and one namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def __call__(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = CALL_SECONDS) -> str:
        """Return what `kubectl ARGUMENTS` printed. Raises KubectlError when it fails."""
        command = self.command(*arguments)
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, timeout=timeout_seconds
        )
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - whatever the API server answers
        """Return the decoded answer of `kubectl ARGUMENTS -o json`."""
        return json.loads(self(*arguments, "-o", "json"))

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        """Return the objects of `kubectl get ARGUMENTS`."""
        listed: list[dict[str, Any]] = self.json("get", *arguments)["items"]
        return listed

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Apply objects as a user does."""
        self("apply", "-f", "-", stdin="\n---\n".join(json.dumps(manifest) for manifest in manifests))

    def raw(self, path: str) -> str:
        """Return what the API server answers to GET `path`; it reaches pods, too."""
        return self("get", "--raw", path)

    def command(self, *arguments: str) -> Sequence[str]:
        """Return the command line of `kubectl ARGUMENTS`."""
        return [*self.cluster.kubectl(), f"--namespace={self.namespace}", *arguments]

    @contextmanager
    def forwarded(self, target: str, port: int) -> Iterator[int]:
        """Forward a port of this machine's loopback address to `target`, such as `service/chat`; yield it."""
        process = subprocess.Popen(
            self.command("port-forward", "--address=127.0.0.1", target, f":{port}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield _port_of(process, target)
        finally:
            process.kill()
            process.communicate()


def _port_of(process: subprocess.Popen[str], target: str) -> int:
    """Return the local port that `kubectl port-forward` announces."""
    if process.stdout is None:
        raise KubectlError("port-forward was started without a pipe")
    said = []
    deadline = time.monotonic() + FORWARD_SECONDS
    # kubectl closes its output when it fails, so reading ends; it dials before it prints, so one line decides.
    for line in process.stdout:
        if found := FORWARDING.search(line):
            return int(found.group(1))
        said.append(line.strip())
        if time.monotonic() > deadline:
            break
    raise KubectlError(f"kubectl port-forward {target}: {' '.join(said)}")
