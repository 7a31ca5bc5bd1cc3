"""A client that sends bytes as they are, and reads what comes."""

import contextlib
import json
import socket
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser

from e2e.gateway.local import LocalGateway


PATIENCE_SECONDS = 10.0
_NO_BODY = (100, 101, 204, 304)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One HTTP/1.1 answer."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def code(self) -> str | None:
        """The `code` of OpenAI's error JSON; None where the body is none."""
        try:
            found: str | None = json.loads(self.body)["error"]["code"]
        except (ValueError, KeyError, TypeError):
            return None
        return found


def connect(gateway: LocalGateway) -> socket.socket:
    """Return a connection to the clients' port."""
    return socket.create_connection((gateway.address, gateway.port), timeout=PATIENCE_SECONDS)


def send(client: socket.socket, data: bytes) -> None:
    """Send, even if the gateway closes while it reads: its answer is what counts."""
    with contextlib.suppress(ConnectionError):
        client.sendall(data)


def half_close(client: socket.socket) -> None:
    """Say that nothing more comes."""
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_WR)


def read_to_end(client: socket.socket) -> bytes:
    """Return all that comes until the gateway closes. Raises TimeoutError when it does not."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while data := client.recv(65536):
            received += data
    return received


def read_some(client: socket.socket) -> bytes:
    """Return what comes first; empty when the gateway closes."""
    try:
        return client.recv(65536)
    except ConnectionError:
        return b""


def answers(received: bytes) -> list[Answer]:
    """Return the answers on one connection. Raises ValueError when something else is there."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        line, _, lines = head.partition(b"\r\n")
        if not line.startswith(b"HTTP/1.1 "):
            raise ValueError(f"this is no answer: {received[:200]!r}")
        status = int(line.split()[1])
        headers = {name.lower(): value for name, value in BytesHeaderParser().parsebytes(lines).items()}
        body, received = _body(rest, status, headers)
        found.append(Answer(status=status, headers=headers, body=body))
    return found


def exchange(gateway: LocalGateway, data: bytes) -> list[Answer]:
    """Send `data` on a connection of its own, and return all answers to it."""
    with connect(gateway) as client:
        send(client, data)
        first = read_some(client)
        half_close(client)
        return answers(first + read_to_end(client))


def _body(rest: bytes, status: int, headers: dict[str, str]) -> tuple[bytes, bytes]:
    if status in _NO_BODY:
        return b"", rest
    if headers.get("transfer-encoding") != "chunked":
        size = int(headers.get("content-length", len(rest)))
        return rest[:size], rest[size:]
    body = b""
    while True:
        size_line, _, rest = rest.partition(b"\r\n")
        size = int(size_line or b"0", 16)
        body, rest = body + rest[:size], rest[size + 2 :]
        if size == 0:
            return body, rest
