"""Reading a busy socket in batches: a wake-up of the event loop costs more than ten reads."""

import asyncio
import socket
from collections.abc import Callable


PAUSE_SECONDS = 0.01
"""How long a socket is left alone after it was read. What comes meanwhile waits in the kernel, and is read at once."""


def _usual_pause() -> float:
    return PAUSE_SECONDS


class PacedReader:
    """Calls `read` when there is something to read, and then not again for a moment."""

    def __init__(
        self, source: socket.socket, read: Callable[[], None], pause_seconds: Callable[[], float] = _usual_pause
    ) -> None:
        """`pause_seconds` is asked after each read."""
        self._loop = asyncio.get_running_loop()
        self._source = source
        self._read = read
        self._pause_seconds = pause_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._loop.add_reader(source, self._readable)

    def _readable(self) -> None:
        self._loop.remove_reader(self._source)
        self._read()
        if self._source.fileno() >= 0:
            self._timer = self._loop.call_later(self._pause_seconds(), self._again)

    def _again(self) -> None:
        self._timer = None
        self._loop.add_reader(self._source, self._readable)

    def finish(self) -> None:
        """Read what is there, for the last time, and close the socket."""
        self._read()
        self.close()

    def close(self) -> None:
        """Read no more, and close the socket, if it is still open."""
        if self._source.fileno() < 0:
            return
        if self._timer:
            self._timer.cancel()
        self._loop.remove_reader(self._source)
        self._source.close()
