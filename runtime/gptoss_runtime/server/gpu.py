"""What NVIDIA's driver says of the GPUs that this pod sees. A GPU of another maker is not looked at."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gptoss_runtime.model.gpus import GpuFacts
from gptoss_runtime.server.nvml import Nvml


T = TypeVar("T")

FATAL_XIDS = frozenset({48, 64, 79, 95, 119, 120, 140})
"""Errors after which a GPU computes wrongly, or not at all, until it is reset: memory errors that could not be
contained or repaired, a GPU that fell off the bus, firmware that does not answer. Most others are errors of programs.
https://docs.nvidia.com/deploy/xid-errors/"""
_LABELS = ("gpu", "uuid", "name")
_MAX_EVENTS = 1000
"""XIDs that one look takes in."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One GPU now. None is what its driver does not say."""

    index: int
    name: str
    uuid: str
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    utilization: float | None
    """Share of the last moments in which any kernel ran, 0 to 1. It does not tell how much of the GPU was used."""
    temperature_celsius: float | None
    power_watts: float | None
    ecc_uncorrected: int | None
    """Memory errors that could not be corrected, since the driver was loaded."""
    ecc_uncorrected_here: int
    """The same since this server looked first."""
    xids: Mapping[int, int]
    """How often the driver reported each kind of error, since this server looked first."""

    @property
    def free_bytes(self) -> int | None:
        """Memory that nobody has."""
        if self.memory_used_bytes is None or self.memory_total_bytes is None:
            return None
        return self.memory_total_bytes - self.memory_used_bytes

    @property
    def error(self) -> str:
        """An error that spoils answers, since this server looked first; empty when there was none."""
        if fatal := sorted(FATAL_XIDS & self.xids.keys()):
            return f"the driver reported XID {', '.join(map(str, fatal))}; the GPU must be reset"
        if self.ecc_uncorrected_here:
            return "memory errors could not be corrected; the GPU must be reset"
        return ""


class Gpus:
    """The GPUs of one driver. Every call may block; call it in a thread."""

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml
        self._xids: dict[str, dict[int, int]] = {}
        self._first_ecc: dict[str, int] = {}
        self._events: Any = None
        self._watched: set[str] = set()

    def facts(self) -> tuple[GpuFacts, ...]:
        """Return what does not change; a GPU whose memory is unknown is left out."""
        facts = []
        for _, handle in self._handles():
            memory = self._ask(self._nvml.nvmlDeviceGetMemoryInfo, handle)
            capability = self._ask(self._nvml.nvmlDeviceGetCudaComputeCapability, handle)
            if memory is not None:
                facts.append(GpuFacts(name=self._name(handle), memory_bytes=int(memory.total), capability=capability))
        return tuple(facts)

    def read(self) -> tuple[GpuReading, ...]:
        """Return how each GPU is."""
        handles = [(index, handle, self._uuid(handle)) for index, handle in self._handles()]
        for _, handle, uuid in handles:
            self._listen(handle, uuid)
        self._take_events()
        return tuple(self._reading(index, handle, uuid) for index, handle, uuid in handles)

    def _reading(self, index: int, handle: object, uuid: str) -> GpuReading:
        nvml = self._nvml
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        busy = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        milliwatts = self._ask(nvml.nvmlDeviceGetPowerUsage, handle)
        ecc = self._ask(
            nvml.nvmlDeviceGetTotalEccErrors, handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
        )
        return GpuReading(
            index=index,
            name=self._name(handle),
            uuid=uuid,
            memory_used_bytes=None if memory is None else int(memory.used),
            memory_total_bytes=None if memory is None else int(memory.total),
            utilization=None if busy is None else busy.gpu / 100,
            temperature_celsius=self._ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            power_watts=None if milliwatts is None else milliwatts / 1000,
            ecc_uncorrected=ecc,
            ecc_uncorrected_here=0 if ecc is None else max(ecc - self._first_ecc.setdefault(uuid, ecc), 0),
            xids=dict(self._xids.get(uuid, {})),
        )

    def _handles(self) -> list[tuple[int, Any]]:
        count = self._ask(self._nvml.nvmlDeviceGetCount) or 0
        # One that fell off the bus has no handle any more; the others still have.
        handles = [(index, self._ask(self._nvml.nvmlDeviceGetHandleByIndex, index)) for index in range(count)]
        return [(index, handle) for index, handle in handles if handle is not None]

    def _listen(self, handle: object, uuid: str) -> None:
        """Have the driver report errors of a GPU, from the first look on."""
        if uuid in self._watched:
            return
        self._watched.add(uuid)
        if self._events is None:
            self._events = self._ask(self._nvml.nvmlEventSetCreate)
        if self._events is not None:
            xids = self._nvml.nvmlEventTypeXidCriticalError
            self._ask(self._nvml.nvmlDeviceRegisterEvents, handle, xids, self._events)

    def _take_events(self) -> None:
        for _ in range(_MAX_EVENTS if self._events is not None else 0):
            # With nothing to report, the driver says that time is up.
            event = self._ask(self._nvml.nvmlEventSetWait_v2, self._events, 0)
            if event is None:
                return
            uuid, xid = self._uuid(event.device), int(event.eventData)
            counts = self._xids.setdefault(uuid, {})
            counts[xid] = counts.get(xid, 0) + 1
            log.warning("GPU %s: the driver reports XID %d", uuid or "of an unknown name", xid)

    def _name(self, handle: object) -> str:
        return _text(self._ask(self._nvml.nvmlDeviceGetName, handle))

    def _uuid(self, handle: object) -> str:
        return _text(self._ask(self._nvml.nvmlDeviceGetUUID, handle))

    def _ask(self, question: Callable[..., T], *arguments: object) -> T | None:
        """Return the answer; None where the driver has none, as for what a GPU does not have."""
        try:
            return question(*arguments)
        except self._nvml.NVMLError:
            return None


def gpu_metrics(readings: Sequence[GpuReading]) -> Iterator[Metric]:
    """Yield Prometheus families of `readings`. What is unknown is absent."""
    gauges: tuple[tuple[str, str, Callable[[GpuReading], float | None]], ...] = (
        ("memory_used_bytes", "Memory that is taken.", lambda gpu: gpu.memory_used_bytes),
        ("memory_total_bytes", "All memory.", lambda gpu: gpu.memory_total_bytes),
        ("utilization_ratio", "Share of the time in which any kernel ran.", lambda gpu: gpu.utilization),
        ("temperature_celsius", "Temperature of the chip.", lambda gpu: gpu.temperature_celsius),
        ("power_watts", "Power that is drawn.", lambda gpu: gpu.power_watts),
    )
    for name, text, value_of in gauges:
        family = GaugeMetricFamily(f"gptoss_gpu_{name}", text, labels=_LABELS)
        for gpu in readings:
            if (value := value_of(gpu)) is not None:
                family.add_metric(_label_values(gpu), value)
        if family.samples:
            yield family
    ecc = CounterMetricFamily(
        "gptoss_gpu_ecc_uncorrected",
        "Memory errors that could not be corrected, since the driver's start.",
        labels=_LABELS,
    )
    xids = CounterMetricFamily(
        "gptoss_gpu_xid_errors", "Errors that the driver reported, since the server's start.", labels=(*_LABELS, "xid")
    )
    for gpu in readings:
        if gpu.ecc_uncorrected is not None:
            ecc.add_metric(_label_values(gpu), gpu.ecc_uncorrected)
        for xid, count in sorted(gpu.xids.items()):
            xids.add_metric([*_label_values(gpu), str(xid)], count)
    yield from (family for family in (ecc, xids) if family.samples)


def _label_values(gpu: GpuReading) -> list[str]:
    return [str(gpu.index), gpu.uuid, gpu.name]


def _text(said: str | bytes | None) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said or ""
