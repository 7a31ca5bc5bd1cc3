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
            window: deque[Future[bytearray]] = deque()
            for begin in ranges:
                window.append(self.pool.submit(self._range, file, begin, min(begin + RANGE_BYTES, file.size)))
                if len(window) == CONNECTIONS:
                    out.write(window.popleft().result())
                    out.flush()
            while window:
                out.write(window.popleft().result())
                out.flush()

    def _range(self, file: RemoteFile, start: int, end: int) -> bytearray:
        """Return the bytes of `file` from `start` up to `end`. Raises FetchError, Stopped."""
        got = bytearray()
        attempt = 0
        try:
            while start + len(got) < end:
                before = len(got)
                try:
                    self._add(file, got, start, end)
                except TransientError as error:
                    attempt = 0 if len(got) > before else attempt
                    self.patience.bear(error, attempt)
                    attempt += 1
        except FetchError as error:
            self.patience.give_up(error)
            raise
        return got

    def _add(self, file: RemoteFile, got: bytearray, start: int, end: int) -> None:
        """Append to `got` what it lacks of the range. Raises TransientError when the source ends early."""
        for chunk in self.source.chunks(file, start + len(got), end):
            got += chunk
            self.patience.progressed()
            self.progress.add(len(chunk))
        missing = end - start - len(got)
        if missing > 0:
            raise TransientError(f"{self.source.host} ended {file.name} early")
        if missing < 0:
            raise FetchError(f"{self.source.host} sent more of {file.name} than it was asked for")


def text_of(patience: Patience, source: Source, file: RemoteFile) -> str:
    """Return a small file as a whole. Raises FetchError, Stopped."""
    return patience.insist(lambda: b"".join(source.chunks(file, 0, file.size)).decode(errors="replace"))
