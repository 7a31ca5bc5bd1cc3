"""Real HTTP over loopback for the tests: servers that note what they were asked, and can be told to misbehave."""

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from urllib.parse import urlsplit


PATIENCE_SECONDS = 30.0
SLICE_BYTES = 2**18
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request."""

    method: str
    path: str
    range: str
    headers: dict[str, str]


@dataclass
class Behaviour:
    """What servers note, and how they misbehave."""

    asked: list[Asked] = field(default_factory=list)
    sent_bytes: int = 0
    """Of bodies of files."""
    hold_after: int | None = None
    """Bytes of a file from here on are held back until `go` is set."""
    go: threading.Event = field(default_factory=threading.Event)
    held: threading.Event = field(default_factory=threading.Event)
    """Set when bytes are held back."""
    break_after: list[int] = field(default_factory=list)
    """Each of the next answers with a range ends after so many bytes."""
    statuses: list[int] = field(default_factory=list)
    """Each of the next requests is answered with one of these instead."""
    damage: list[str] = field(default_factory=list)
    """Each name in it makes one answer with that name in its path wrong."""
    no_ranges: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def paths(self, method: str) -> list[str]:
        return [asked.path for asked in self.asked if asked.method == method]


class Handler(BaseHTTPRequestHandler):
    """Answers by `answer`, which each kind of server has its own of."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        behaviour = self.server.behaviour
        with behaviour.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            behaviour.asked.append(
                Asked(method=self.command, path=self.path, range=headers.get("range", ""), headers=headers)
            )
            status = behaviour.statuses.pop(0) if behaviour.statuses else 0
        if status:
            self.answer(status, b"told to")
        else:
            self.server.serve(self)

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def answer(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] = NOTHING, *, length: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command == "GET":
            self._write(body)

    def answer_file(self, content: bytes, headers: Mapping[str, str] = NOTHING) -> None:
        """Answer with a file, or the range of it that was asked for."""
        behaviour = self.server.behaviour
        start, end = 0, len(content)
        status = 200
        asked = self.headers.get("Range", "")
        if asked and not behaviour.no_ranges:
            first, last = asked.removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last) + 1, len(content))
            status = 206
            headers = {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(content)}"}
        body = bytearray(content[start:end])
        with behaviour.lock:
            broken = behaviour.break_after.pop(0) if behaviour.break_after and self.command == "GET" else None
            name = urlsplit(self.path).path
            if hits := [word for word in behaviour.damage if word in name and self.command == "GET"]:
                behaviour.damage.remove(hits[0])
                body[0] ^= 1
        self.answer(status, headers=headers, length=len(body))
        if self.command == "GET":
            self._send(body, start, broken)

    def _send(self, body: bytearray, start: int, broken: int | None) -> None:
        behaviour = self.server.behaviour
        for offset in range(0, len(body), SLICE_BYTES):
            piece = body[offset : offset + SLICE_BYTES]
            if behaviour.hold_after is not None and start + offset + len(piece) > behaviour.hold_after:
                behaviour.held.set()
                behaviour.go.wait(PATIENCE_SECONDS)
            if broken is not None and offset + len(piece) > broken:
                self.close_connection = True
                return
            if not self._write(piece):
                return
            with behaviour.lock:
                behaviour.sent_bytes += len(piece)

    def _write(self, data: bytes | bytearray) -> bool:
        """Return whether the client is still there."""
        try:
            self.wfile.write(data)
        except OSError:
            self.close_connection = True
            return False
        return True


class Server(ThreadingHTTPServer):
    """A server whose answers come from `serve`."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, host: str, serve: Callable[[Handler], None], behaviour: Behaviour, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__((host, 0), Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.scheme = "https" if tls else "http"
        self.serve = serve
        self.behaviour = behaviour

    @property
    def address(self) -> str:
        host, port = self.server_address[:2]
        return f"{self.scheme}://{host!s}:{port}"


@contextmanager
def serving(
    host: str, serve: Callable[[Handler], None], behaviour: Behaviour, tls: ssl.SSLContext | None = None
) -> Iterator[Server]:
    """Run a server while the body runs."""
    with Server(host, serve, behaviour, tls) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            behaviour.go.set()
            server.shutdown()
            thread.join(PATIENCE_SECONDS)
