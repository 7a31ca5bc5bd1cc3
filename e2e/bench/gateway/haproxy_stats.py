"""What the gateway's HAProxy says of the replicas, by its runtime API."""

import csv
import socket
from dataclasses import dataclass
from pathlib import Path

from e2e.bench.errors import BenchError
from gptoss_runtime.gateway_contract import Socket


BACKEND = "replicas"
ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStats:
    """One replica."""

    is_up: bool
    requests: int
    """Sent to it since the start."""
    failed_checks: int


def server_stats(run_directory: Path) -> dict[str, ServerStats]:
    """Return the replicas by address. Raises BenchError when HAProxy does not answer."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(ANSWER_SECONDS)
            client.connect(str(run_directory / Socket.RUNTIME))
            client.sendall(b"show stat\n")
            text = b"".join(iter(lambda: client.recv(65536), b"")).decode()
    except OSError as error:
        raise BenchError(f"HAProxy's runtime API in {run_directory} does not answer: {error}") from error
    return {
        row["addr"].rpartition(":")[0]: ServerStats(
            is_up=row["status"].startswith("UP"), requests=int(row["stot"]), failed_checks=int(row["chkfail"] or 0)
        )
        for row in csv.DictReader(text.removeprefix("# ").splitlines())
        if row["pxname"] == BACKEND and row["addr"].startswith("127.")
    }
