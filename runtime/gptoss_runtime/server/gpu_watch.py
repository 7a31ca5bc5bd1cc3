"""Asking for the GPUs without ever being held up: a driver that hangs must not hang the server too."""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from gptoss_runtime.model.gpus import GpuFacts
from gptoss_runtime.server.gpu import GpuReading, Gpus
from gptoss_runtime.server.nvml import Nvml, load_nvml


T = TypeVar("T")

LIST_SECONDS = 20.0
"""Loading a driver whose GPUs were asleep takes seconds."""
READ_SECONDS = 5.0

log = logging.getLogger(__name__)


class GpuWatch:
    """The GPUs of this pod. Used from one thread, or one event loop."""

    def __init__(
        self,
        load: Callable[[], Nvml | None] = load_nvml,
        *,
        list_seconds: float = LIST_SECONDS,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self._load = load
        self._list_seconds = list_seconds
        self._read_seconds = read_seconds
        self._gpus: Gpus | None = None
        self._loaded = False
        self._loading = threading.Lock()
        self._pending: Future[tuple[GpuReading, ...]] | None = None
        self._complained = False

    def list_gpus(self) -> tuple[GpuFacts, ...]:
        """Return name, memory and capability of each GPU; none where the driver does not say in time. Blocks."""
        try:
            return _in_thread(lambda: gpus.facts() if (gpus := self._opened()) else ()).result(self._list_seconds)
        except TimeoutError:
            log.warning("NVIDIA's driver did not list the GPUs within %.0f s", self._list_seconds)
            return ()

    async def read_gpus(self) -> tuple[GpuReading, ...]:
        """Return how each GPU is; none where the driver does not say in time."""
        if self._pending is None:
            self._pending = _in_thread(lambda: gpus.read() if (gpus := self._opened()) else ())
        pending = self._pending
        try:
            readings = await asyncio.wait_for(asyncio.wrap_future(pending), self._read_seconds)
        except TimeoutError:
            # It is waited for again the next time, so that threads do not pile up.
            if not self._complained:
                self._complained = True
                log.warning("NVIDIA's driver does not answer within %.0f s", self._read_seconds)
            return ()
        self._pending, self._complained = None, False
        return readings

    def _opened(self) -> Gpus | None:
        with self._loading:
            if not self._loaded:
                nvml = self._load()
                self._gpus = None if nvml is None else Gpus(nvml)
                self._loaded = True
            return self._gpus


def _in_thread(call: Callable[[], T]) -> Future[T]:
    """Run `call` in a thread that nobody waits for at the process's end, as a pool's would be."""
    future: Future[T] = Future()
    # It runs already, so nobody who stops waiting for it can cancel it.
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, name="nvml", daemon=True).start()
    return future
