"""NVIDIA's management library, as far as it is used here, and loading it. Everything in it may block."""

# ruff: noqa: ANN401, D102, N802, N815 - names and types are NVML's, and so is what its functions do

import importlib
import logging
from typing import Any, Protocol


log = logging.getLogger(__name__)


class Memory(Protocol):
    """A GPU's memory in bytes."""

    total: int
    used: int


class Utilization(Protocol):
    """How busy a GPU is."""

    gpu: int
    """Percent of the time in which any kernel ran."""


class Event(Protocol):
    """Something that happened to a GPU."""

    device: Any
    eventData: int
    """Of an XID event: its number."""


class Nvml(Protocol):
    """The module `pynvml` of nvidia-ml-py."""

    NVMLError: type[Exception]
    nvmlEventTypeXidCriticalError: int
    NVML_TEMPERATURE_GPU: int
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED: int
    NVML_VOLATILE_ECC: int

    def nvmlInit(self) -> object: ...
    def nvmlDeviceGetCount(self) -> int: ...
    def nvmlDeviceGetHandleByIndex(self, index: int, /) -> Any: ...
    def nvmlDeviceGetName(self, handle: Any, /) -> str | bytes: ...
    def nvmlDeviceGetUUID(self, handle: Any, /) -> str | bytes: ...
    def nvmlDeviceGetMemoryInfo(self, handle: Any, /) -> Memory: ...
    def nvmlDeviceGetCudaComputeCapability(self, handle: Any, /) -> tuple[int, int]: ...
    def nvmlDeviceGetUtilizationRates(self, handle: Any, /) -> Utilization: ...
    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int, /) -> int: ...
    def nvmlDeviceGetPowerUsage(self, handle: Any, /) -> int: ...
    def nvmlDeviceGetTotalEccErrors(self, handle: Any, kind: int, since: int, /) -> int: ...
    def nvmlEventSetCreate(self) -> Any: ...
    def nvmlDeviceRegisterEvents(self, handle: Any, kinds: int, events: Any, /) -> object: ...
    def nvmlEventSetWait_v2(self, events: Any, milliseconds: int, /) -> Event: ...


def load_nvml() -> Nvml | None:
    """Return the library, ready to be asked; None where it, or the driver, is not there."""
    try:
        nvml: Nvml = importlib.import_module("pynvml")
    except ImportError as error:
        log.info("GPUs are not looked at: %s; install nvidia-ml-py", error)
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        log.info("GPUs are not looked at: NVIDIA's driver says %s", error)
        return None
    return nvml
