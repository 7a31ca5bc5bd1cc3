"""Bringing one file: many ranges at once, written in order, so that what is there is always its beginning."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gptoss_runtime.weights.errors import FetchError, TransientError
from gptoss_runtime.weights.listing import RemoteFile, Source
from gptoss_runtime.weights.patience import Patience
from gptoss_runtime.weights.progress import Progress


CONNECTIONS = 16
RANGE_BYTES = 8 * 2**20
"""What an interruption may lose, and the memory that it takes, is this for each connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The way from a source to the disk."""

    source: Source
    patience: Patience
    progress: Progress
    pool: ThreadPoolExecutor

    def bring(self, file: RemoteFile, partial: Path) -> None:
        """Append to `partial` what it lacks of `file`.

        Raises FetchError, Stopped, or OSError when it cannot be written.
        """
        with partial.open("ab") as out:
            start = out.tell()
            if start > file.size:
                start = out.truncate(0)
            ranges = iter(range(start, file.size, RANGE_BYTES))
            window: deque[Future[memoryview]] = deque()
            for begin in ranges:
                window.append(self.pool.submit(self._range, file, begin, min(begin + RANGE_BYTES, file.size)))
                if len(window) == CONNECTIONS:
                    out.write(window.popleft().result())
                    out.flush()
            while window:
                out.write(window.popleft().result())
                out.flush()

    def _range(self, file: RemoteFile, start: int, end: int) -> memoryview:
        """Return the bytes of `file` from `start` up to `end`. Raises FetchError, Stopped."""
        # As large as it gets from the start: growing it in small steps costs more than all the rest.
        room = memoryview(bytearray(end - start))
        got = attempt = 0
        try:
            while got < len(room):
                before = got
                try:
                    for chunk in self.source.chunks(file, start + got, end):
                        got = self._put(chunk, room, got, file)
                    if got < len(room):
                        raise TransientError(f"{self.source.host} ended {file.name} early")  # noqa: TRY301
                except TransientError as error:
                    attempt = 0 if got > before else attempt
                    self.patience.bear(error, attempt)
                    attempt += 1
        except FetchError as error:
            self.patience.give_up(error)
            raise
        return room

    def _put(self, chunk: bytes, room: memoryview, got: int, file: RemoteFile) -> int:
        """Return how much of `room` is filled with `chunk` behind what it has. Raises FetchError, Stopped."""
        if got + len(chunk) > len(room):
            raise FetchError(f"{self.source.host} sent more of {file.name} than it was asked for")
        room[got : got + len(chunk)] = chunk
        self.patience.progressed()
        self.progress.add(len(chunk))
        return got + len(chunk)


def text_of(patience: Patience, source: Source, file: RemoteFile) -> str:
    """Return a small file as a whole. Raises FetchError, Stopped."""

    def read() -> str:
        text = b"".join(source.chunks(file, 0, file.size))
        if len(text) != file.size:
            raise TransientError(f"{source.host} ended {file.name} early")
        return text.decode(errors="replace")

    return patience.insist(read)
