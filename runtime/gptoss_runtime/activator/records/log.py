"""HAProxy's log: lines from its ring, over a stream socket.

Not datagrams: a Unix socket in a pod takes ten of them at a time, and HAProxy drops the others without waiting.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

import msgspec

from gptoss_runtime.activator.records.paced import PacedReader
from gptoss_runtime.activator.records.record import Line


READ_BYTES = 65536
READS = 4
"""Reads before others have their turn: about 600 lines."""
LONGEST_LINE_BYTES = 65536
"""More without a newline is no log."""
_decode = msgspec.json.Decoder(Line).decode


class Listener(Protocol):
    """Who is told what the log says."""

    def ended(self, line: Line) -> None:
        """Take the line of a request that has ended."""

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
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE_BYTES:
            self._rest = b""
            self._listener.unreadable()
        for raw in lines:
            if raw[:1] == b"{":
                self._request(raw)
            elif text := raw.decode(errors="replace").strip():
                self._listener.news(text)

    def _request(self, raw: bytes) -> None:
        line: Line | None
        try:
            line = _decode(raw)
        except (UnicodeDecodeError, msgspec.DecodeError):
            line = _mended(raw)
        if line is None:
            self._listener.unreadable()
        else:
            self._listener.ended(line)


def _mended(raw: bytes) -> Line | None:
    """Return a line whose text is not UTF-8, with a mark where it is not. None: it is no such line either."""
    with suppress(msgspec.DecodeError):
        return _decode(raw.decode(errors="replace"))
    return None


@asynccontextmanager
async def reading_log(path: Path, listener: Listener) -> AsyncIterator[None]:
    """Listen for HAProxy's log on the Unix socket `path` while the block runs. Raises OSError.

    HAProxy connects by itself, keeps what it has to say while nobody listens, and connects again after one second.
    """
    readers: set[PacedReader] = set()
    with _listening(path) as server:
        loop = asyncio.get_running_loop()
        loop.add_reader(server, _accept, server, listener, readers)
        try:
            yield
        finally:
            loop.remove_reader(server)
            # The last lines of a gateway that ends are as good as any.
            for reader in tuple(readers):
                reader.finish()


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


def _accept(server: socket.socket, listener: Listener, readers: set[PacedReader]) -> None:
    with suppress(OSError):  # Gone again, or no descriptor is free: HAProxy comes again.
        connection = server.accept()[0]
        connection.settimeout(0)
        log = LogReader(listener)

        def read() -> None:
            if not _drain(connection, log):
                readers.discard(reader)
                reader.close()
            listener.flush()

        reader = PacedReader(connection, read)
        readers.add(reader)


def _drain(connection: socket.socket, log: LogReader) -> bool:
    """Read what is there. Returns False when HAProxy has closed."""
    try:
        for _ in range(READS):
            data = connection.recv(READ_BYTES)
            if not data:
                return False
            log.feed(data)
            if len(data) < READ_BYTES:
                break
    except BlockingIOError:
        pass
    except OSError:
        return False
    return True
