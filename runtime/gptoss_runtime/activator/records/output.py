"""Writing to the standard output without ever waiting for whoever reads it."""

import asyncio
import os


MOST_BYTES = 4 * 2**20
"""What is kept for a reader that is slow. More is dropped: a full disk on a node must not stop the gateway."""


class Output:
    """A file descriptor that takes whole lines, or loses whole lines."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._was_blocking = os.get_blocking(descriptor)
        os.set_blocking(descriptor, False)

    def write(self, lines: bytes) -> bool:
        """Write some lines, each with its newline. Returns False when they were dropped since nobody reads."""
        if self._bytes + len(lines) > MOST_BYTES:
            return False
        self._waiting.append(lines)
        self._bytes += len(lines)
        if len(self._waiting) == 1:
            self._flush()
            if self._waiting:
                asyncio.get_running_loop().add_writer(self._descriptor, self._flush_more)
        return True

    def close(self) -> None:
        """Write what can be written at once, and give the descriptor back as it was."""
        self._flush()
        if self._waiting:
            asyncio.get_running_loop().remove_writer(self._descriptor)
        os.set_blocking(self._descriptor, self._was_blocking)

    def _flush_more(self) -> None:
        self._flush()
        if not self._waiting:
            asyncio.get_running_loop().remove_writer(self._descriptor)

    def _flush(self) -> None:
        try:
            while self._waiting:
                written = os.write(self._descriptor, self._waiting[0])
                self._bytes -= written
                self._waiting[0] = self._waiting[0][written:]
                if not self._waiting[0]:
                    del self._waiting[0]
        except BlockingIOError:
            return
        except OSError:
            # Nobody will ever read again.
            self._waiting.clear()
            self._bytes = 0
