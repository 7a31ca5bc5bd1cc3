"""Runs in a pod on its node's own network, with Python alone: plays AWS's metadata service for all pods of the node.

A pod's machine is taken away two minutes after a file with the pod's address as its name was put into the directory
given. That every pod of one node has a machine of its own is the part that is not real.
"""

import fcntl
import json
import socket
import struct
import sys
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


ADDRESS = "169.254.169.254"
INTERFACE = b"lo:imds"
SIOCSIFADDR, SIOCSIFNETMASK = 0x8916, 0x891C
"""Set an interface's address, and its netmask: <linux/sockios.h>."""
NOTICE = timedelta(minutes=2)
DOOMED = Path(sys.argv[1])


def take_address() -> None:
    """Give the node the service's address, and no other of its range."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for request, value in ((SIOCSIFADDR, ADDRESS), (SIOCSIFNETMASK, "255.255.255.255")):
            family_and_port = struct.pack("HH", socket.AF_INET, 0)
            fcntl.ioctl(
                any_socket, request, struct.pack("16s4s4s8x", INTERFACE, family_and_port, socket.inet_aton(value))
            )


class Metadata(BaseHTTPRequestHandler):
    """Answers what a replica asks."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        """Give out a token."""
        self.answer("token" if self.path == "/latest/api/token" else None)

    def do_GET(self) -> None:
        """Say whether the machine of who asks is taken away."""
        doomed = DOOMED / self.client_address[0]
        if self.path != "/latest/meta-data/spot/instance-action" or not doomed.exists():
            self.answer(None)
            return
        end = datetime.fromtimestamp(doomed.stat().st_mtime, UTC) + NOTICE
        self.answer(json.dumps({"action": "terminate", "time": end.strftime("%Y-%m-%dT%H:%M:%SZ")}))

    def answer(self, text: str | None) -> None:
        """Answer with a page, or that there is none."""
        body = (text or "").encode()
        self.send_response(404 if text is None else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


DOOMED.mkdir(exist_ok=True)
take_address()
ThreadingHTTPServer((ADDRESS, 80), Metadata).serve_forever()
