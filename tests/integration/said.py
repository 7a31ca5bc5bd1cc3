"""Speaks for simulated replicas: answers `/state` at every address with what a file says of the pod that has it.

Run inside the cluster's network, where all pods' addresses are this one program's. The directory is its argument; a
file is named after an address. Each answer has a higher sequence number, as a replica's has. Counters that grow are in
`per_second`, and grow from the time `since` on.
"""

import itertools
import json
import sys
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from gptoss_runtime.contract import HEALTH_PORT


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    directory = Path()
    numbers = itertools.count(1)

    def handle(self) -> None:
        # An operator that is killed says no goodbye.
        with suppress(ConnectionResetError):
            super().handle()

    def do_GET(self) -> None:
        body = b""
        if self.path == "/state":
            body = document(self.directory / self.connection.getsockname()[0], next(self.numbers))
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing for each question."""


def document(said: Path, number: int) -> bytes:
    """Return what the file `said` says now; nothing where there is none."""
    try:
        state = json.loads(said.read_text())
    except FileNotFoundError:
        return b""
    seconds = time.time() - state.pop("since", 0.0)
    grown = {name: float(int(rate * seconds)) for name, rate in state.pop("per_second", {}).items()}
    return json.dumps(state | {"sequence": number, "counters": state["counters"] | grown}).encode()


if __name__ == "__main__":
    Handler.directory = Path(sys.argv[1])
    with ThreadingHTTPServer(("0.0.0.0", HEALTH_PORT), Handler) as server:
        print("up", flush=True)  # noqa: T201 - the test waits for it
        server.serve_forever()
