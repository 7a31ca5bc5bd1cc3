"""HAProxy's log: lines from its ring, over a stream socket.

Not datagrams: a Unix socket in a pod takes ten of them at a time, and HAProxy drops the others without waiting.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

import msgspec

from gptoss_runtime.activator.records.line import Line
from gptoss_runtime.activator.records.paced import PacedReader


READ_BYTES = 65536
READS = 4
"""Reads before others have their turn: about 600 lines."""
BUSY_BYTES = 150_000
"""Where more was there at once, there will soon be more than HAProxy may leave in the kernel."""
PAUSE_SECONDS = 0.02
"""How long lines are collected before they are read, as it is cheaper to read many."""
SHORT_PAUSE_SECONDS = 0.002
"""The same while somebody waits for news."""
LONGEST_LINE_BYTES = 65536
"""More without a newline is no log."""
_decoder = msgspec.json.Decoder(Line)
_decode = _decoder.decode
_decode_lines = _decoder.decode_lines


class Listener(Protocol):
    """Who is told what the log says."""

    def ended(self, lines: Sequence[Line]) -> None:
        """Take the lines of requests that have ended."""

    def news(self, text: str) -> None:
        """Take what HAProxy says about itself and its servers."""

    def unreadable(self) -> None:
        """Count a line that is neither."""

    def flush(self) -> None:
        """Know that these were all lines for now."""


class LogReader:
    """Turns bytes into lines, and lines into calls."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take some bytes of the log; they may end anywhere."""
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        whole, self._rest = data[:end], data[end:]
        if len(self._rest) > LONGEST_LINE_BYTES:
            self._rest = b""
            self._listener.unreadable()
        if not whole:
            return
        try:
            lines = _decode_lines(whole)
        except (UnicodeDecodeError, msgspec.DecodeError):
            lines = list(self._one_by_one(whole))
        if lines:
            self._listener.ended(lines)

    def _one_by_one(self, whole: bytes) -> Iterator[Line]:
        """Yield the lines of requests among news and what is no line."""
        for raw in whole.split(b"\n"):
            if raw[:1] == b"{":
                line = _line(raw)
                if line is None:
                    self._listener.unreadable()
                else:
                    yield line
            elif text := raw.decode(errors="replace").strip():
                self._listener.news(text)


def _line(raw: bytes) -> Line | None:
    """Return the line in `raw`; None if it is none."""
    try:
        return _decode(raw)
    except (UnicodeDecodeError, msgspec.DecodeError):
        return _mended(raw)


def _mended(raw: bytes) -> Line | None:
    """Return a line whose text is not UTF-8, with a mark where it is not. None: it is no such line either."""
    with suppress(msgspec.DecodeError):
        return _decode(raw.decode(errors="replace"))
    return None


class _Connection:
    """HAProxy, as long as it stays."""

    def __init__(
        self,
        connection: socket.socket,
        listener: Listener,
        is_urgent: Callable[[], bool],
        on_end: Callable[["_Connection"], None],
    ) -> None:
        self._connection = connection
        self._on_end = on_end
        self._listener = listener
        self._is_urgent = is_urgent
        self._lines = LogReader(listener)
        self._last_bytes = 0
        self.reader = PacedReader(connection, self._read, self._pause_seconds)

    def _read(self) -> None:
        is_open, data = _drain(self._connection)
        self._last_bytes = len(data)
        self._lines.feed(data)
        self._listener.flush()
        if not is_open:
            self.reader.close()
            self._on_end(self)

    def _pause_seconds(self) -> float:
        return SHORT_PAUSE_SECONDS if self._last_bytes > BUSY_BYTES or self._is_urgent() else PAUSE_SECONDS


def _drain(connection: socket.socket) -> tuple[bool, bytes]:
    """Return whether HAProxy is still there, and what it wrote."""
    parts: list[bytes] = []
    try:
        for _ in range(READS):
            data = connection.recv(READ_BYTES)
            if not data:
                return False, b"".join(parts)
            parts.append(data)
            if len(data) < READ_BYTES:
                break
    except BlockingIOError:
        pass
    except OSError:
        return False, b"".join(parts)
    return True, b"".join(parts)


@asynccontextmanager
async def reading_log(
    path: Path, listener: Listener, is_urgent: Callable[[], bool] = lambda: False
) -> AsyncIterator[None]:
    """Listen for HAProxy's log on the Unix socket `path` while the block runs. Raises OSError.

    HAProxy connects by itself, keeps what it has to say while nobody listens, and connects again after one second.
    `is_urgent` says whether somebody waits for news.
    """
    connections: set[_Connection] = set()
    with _listening(path) as server:
        loop = asyncio.get_running_loop()

        def accept() -> None:
            with suppress(OSError):  # Gone again, or no descriptor is free: HAProxy comes again.
                connection = server.accept()[0]
                connection.settimeout(0)
                connections.add(_Connection(connection, listener, is_urgent, connections.discard))

        loop.add_reader(server, accept)
        try:
            yield
        finally:
            loop.remove_reader(server)
            # The last lines of a gateway that ends are as good as any.
            for connection in tuple(connections):
                connection.reader.finish()


def _listening(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.settimeout(0)
    try:
        server.bind(str(path))
        server.listen()
    except OSError:
        server.close()
        raise
    return server
