"""vLLM's process, and the one that fetches its weights before it.

Each is started in a process group of its own, its output passed on and remembered, its end noticed.

We are PID 1 in the pod, so orphans become our children and we have to reap them all. One place does that for the whole
process, on SIGCHLD: anything else that waited for "its own" child would race with it.
"""

import asyncio
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Self, TextIO


TAIL_LINES = 10_000
"""Lines of output that are remembered, some 2 MB when full.

When an engine dies, each request that it had prints a traceback of 40 lines after the one that matters.
"""
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_LONGEST_LINE = 8192

OnLine = Callable[[str], None]

log = logging.getLogger(__name__)


class StartError(RuntimeError):
    """The server, or a program of its, cannot be started; the message says what, and why."""


class Process:
    """A running child. Made by `start` in a running event loop's main thread, one after the end of the other."""

    def __init__(self, popen: subprocess.Popen[bytes], on_line: OnLine) -> None:
        self._popen = popen
        self._exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._errors: deque[str] = deque(maxlen=1)
        self._heard_at = time.monotonic()
        self._on_line = on_line
        self._copiers = [
            self._copier(source, target, self._take if target is sys.stdout else self._take_error)
            for source, target in ((popen.stdout, sys.stdout), (popen.stderr, sys.stderr))
            if source is not None
        ]

    @classmethod
    def start(cls, command: Sequence[str], environment: Mapping[str, str], *, on_line: OnLine) -> Self:
        """Start `command`. `on_line` gets each line of its output, in another thread. Raises StartError."""
        _adopt_orphans()
        try:
            popen = subprocess.Popen(
                list(command),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
            )
        except OSError as error:
            raise StartError(
                f"cannot start {command[0]}: {error.strerror}; is vLLM in the image, and on PATH?"
            ) from error
        process = cls(popen, on_line)
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, process.reap)
        # It may have ended before the handler was there.
        process.reap()
        return process

    @property
    def pid(self) -> int:
        """Process id, and id of its process group."""
        return self._popen.pid

    @property
    def exit_status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._exited.result() if self._exited.done() else None

    @property
    def exited(self) -> asyncio.Future[int]:
        """Done with the exit status once it has ended."""
        return self._exited

    @property
    def quiet_seconds(self) -> float:
        """Since its last line of output."""
        return time.monotonic() - self._heard_at

    def reap(self) -> None:
        """Take the exit status of every child that has ended, ours and adopted ones."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid != self.pid:
                log.info("Reaped orphan %d", pid)
            elif not self._exited.done():
                # Told to Popen as well, which would otherwise wait for it again when it is thrown away.
                self._popen.returncode = os.waitstatus_to_exitcode(status)
                self._exited.set_result(self._popen.returncode)

    def terminate(self) -> None:
        """Send SIGTERM to the first process, which looks after the others."""
        if not self._exited.done():
            os.kill(self.pid, signal.SIGTERM)

    def kill_group(self) -> None:
        """Send SIGKILL to whatever is left of the process group; none left is fine."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def tail(self, *, wait_seconds: float = 2.0) -> tuple[str, ...]:
        """Return the last lines of output, once its pipes are closed or `wait_seconds` are over."""
        ends_at = time.monotonic() + wait_seconds
        for copier in self._copiers:
            copier.join(max(0.0, ends_at - time.monotonic()))
        return tuple(self._tail)

    def last_error(self) -> str:
        """Return the last line of standard error with words in it; empty when there is none. Call after `tail`."""
        return self._errors[0] if self._errors else ""

    def _copier(self, source: IO[bytes], target: TextIO, take: OnLine) -> threading.Thread:
        """Return a started thread that passes output on as it comes.

        A thread, because our own output may block (a slow log collector), which must not stop the answers about health.
        """
        thread = threading.Thread(target=pass_on, args=(source, target.fileno(), take), daemon=True)
        thread.start()
        return thread

    def _take(self, line: str) -> None:
        self._tail.append(line)
        self._heard_at = time.monotonic()
        self._on_line(line)

    def _take_error(self, line: str) -> None:
        if line.strip():
            self._errors.append(line.strip())
        self._take(line)


def pass_on(source: IO[bytes], target: int, take: OnLine) -> None:
    """Write what comes from `source` to the descriptor `target` until its end, and call `take` with each line."""
    unfinished = b""
    with source:
        while chunk := os.read(source.fileno(), 65536):
            _write_all(target, chunk)
            *lines, unfinished = (unfinished + chunk).split(b"\n")
            for line in lines:
                take(line[:_LONGEST_LINE].decode(errors="replace"))
            unfinished = unfinished[-_LONGEST_LINE:]
    if unfinished:
        take(unfinished.decode(errors="replace"))


def _write_all(target: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(target, data) :]
        except OSError:
            # Nobody reads our output any more, or its disk is full. vLLM must not block or die of that.
            return


def _adopt_orphans() -> None:
    """Become the parent of orphaned grandchildren also where we are not PID 1, so that behaviour is the same."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
