"""What is read of GPUs, from a stand-in for NVML: its answers are those that its reference describes."""

import logging
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from gptoss_runtime.model.gpus import GpuFacts
from gptoss_runtime.server.gpu import GpuReading, Gpus, gpu_metrics
from gptoss_runtime.server.gpu_watch import GpuWatch
from gptoss_runtime.server.nvml import Nvml, load_nvml
from tests.runtime.harness import PATIENCE_SECONDS, scenario


class NotSupported(Exception):
    """NVMLError, as NVML raises it for what a GPU does not have."""


class FakeNvml:
    """Two GPUs, of which each answer can be taken away."""

    NVMLError: type[Exception] = NotSupported
    nvmlEventTypeXidCriticalError = 8  # noqa: N815
    NVML_TEMPERATURE_GPU = 0
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    NVML_VOLATILE_ECC = 0

    def __init__(self) -> None:
        self.missing: set[str] = set()
        """Functions that are not supported."""
        self.lost: set[int] = set()
        """GPUs that fell off the bus."""
        self.ecc = {0: 0, 1: 2}
        self.events: list[tuple[int, int]] = []
        self.registered: list[tuple[int, int]] = []
        self.hang = threading.Event()
        self.hang.set()

    def _check(self, name: str) -> None:
        assert self.hang.wait(PATIENCE_SECONDS)
        if name in self.missing:
            raise NotSupported(name)

    def nvmlInit(self) -> None:  # noqa: N802
        self._check("init")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._check("count")
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int, /) -> int:  # noqa: N802
        if index in self.lost:
            raise NotSupported("GPU is lost")
        return index

    def nvmlDeviceGetName(self, _: int, /) -> str | bytes:  # noqa: N802
        self._check("name")
        return "NVIDIA H100 80GB HBM3"

    def nvmlDeviceGetUUID(self, handle: int, /) -> str | bytes:  # noqa: N802
        # Older versions answer in bytes.
        return b"GPU-%d" % handle

    def nvmlDeviceGetMemoryInfo(self, _: int, /) -> Any:  # noqa: ANN401, N802
        self._check("memory")
        return SimpleNamespace(total=85520809984, used=80000000000)

    def nvmlDeviceGetCudaComputeCapability(self, _: int, /) -> tuple[int, int]:  # noqa: N802
        self._check("capability")
        return 9, 0

    def nvmlDeviceGetUtilizationRates(self, _: int, /) -> Any:  # noqa: ANN401, N802
        self._check("utilization")
        return SimpleNamespace(gpu=75)

    def nvmlDeviceGetTemperature(self, _: int, sensor: int, /) -> int:  # noqa: N802
        self._check("temperature")
        assert sensor == self.NVML_TEMPERATURE_GPU
        return 61

    def nvmlDeviceGetPowerUsage(self, _: int, /) -> int:  # noqa: N802
        self._check("power")
        return 412345

    def nvmlDeviceGetTotalEccErrors(self, handle: int, kind: int, since: int, /) -> int:  # noqa: N802
        self._check("ecc")
        assert (kind, since) == (self.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, self.NVML_VOLATILE_ECC)
        return self.ecc[handle]

    def nvmlEventSetCreate(self) -> str:  # noqa: N802
        self._check("events")
        return "set"

    def nvmlDeviceRegisterEvents(self, handle: int, kinds: int, events: str, /) -> None:  # noqa: N802
        assert events == "set"
        self.registered.append((handle, kinds))

    def nvmlEventSetWait_v2(self, events: str, milliseconds: int, /) -> Any:  # noqa: ANN401, N802
        assert (events, milliseconds) == ("set", 0)
        if not self.events:
            raise NotSupported("timeout")
        device, xid = self.events.pop(0)
        return SimpleNamespace(device=device, eventData=xid)


def test_a_gpu_is_read_whole() -> None:
    first, second = Gpus(FakeNvml()).read()
    assert first == GpuReading(
        index=0,
        name="NVIDIA H100 80GB HBM3",
        uuid="GPU-0",
        memory_used_bytes=80000000000,
        memory_total_bytes=85520809984,
        utilization=0.75,
        temperature_celsius=61,
        power_watts=412.345,
        ecc_uncorrected=0,
        ecc_uncorrected_here=0,
        xids={},
    )
    assert (first.free_bytes, first.error) == (5520809984, "")
    assert (second.index, second.uuid) == (1, "GPU-1")


def test_what_a_driver_does_not_say_is_unknown() -> None:
    nvml = FakeNvml()
    nvml.missing = {"name", "memory", "utilization", "temperature", "power", "ecc", "events"}
    reading = Gpus(nvml).read()[0]
    assert reading == GpuReading(
        index=0,
        name="",
        uuid="GPU-0",
        memory_used_bytes=None,
        memory_total_bytes=None,
        utilization=None,
        temperature_celsius=None,
        power_watts=None,
        ecc_uncorrected=None,
        ecc_uncorrected_here=0,
        xids={},
    )
    assert reading.free_bytes is None
    assert nvml.registered == []


def test_what_memory_planning_needs() -> None:
    nvml = FakeNvml()
    known = GpuFacts(name="NVIDIA H100 80GB HBM3", memory_bytes=85520809984, capability=(9, 0))
    assert Gpus(nvml).facts() == (known, known)
    nvml.missing = {"capability"}
    assert Gpus(nvml).facts()[0].capability is None
    nvml.missing = {"memory"}
    assert Gpus(nvml).facts() == ()
    nvml.missing = {"count"}
    assert Gpus(nvml).facts() == ()


def test_only_memory_errors_of_this_servers_time_spoil_answers() -> None:
    nvml = FakeNvml()
    gpus = Gpus(nvml)
    assert [(gpu.ecc_uncorrected, gpu.error) for gpu in gpus.read()] == [(0, ""), (2, "")]
    nvml.ecc[1] = 3
    first, second = gpus.read()
    assert (first.error, second.ecc_uncorrected, second.ecc_uncorrected_here) == ("", 3, 1)
    assert second.error == "memory errors could not be corrected; the GPU must be reset"


def test_a_count_that_begins_again_is_no_error() -> None:
    nvml = FakeNvml()
    gpus = Gpus(nvml)
    gpus.read()
    nvml.ecc[1] = 0
    assert gpus.read()[1].error == ""


def test_errors_that_the_driver_reports_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    nvml = FakeNvml()
    gpus = Gpus(nvml)
    gpus.read()
    # It is asked to report each GPU's once.
    assert nvml.registered == [(0, 8), (1, 8)]
    nvml.events = [(1, 31), (1, 31), (0, 13)]
    first, second = gpus.read()
    assert (first.xids, second.xids) == ({13: 1}, {31: 2})
    # These are errors of programs.
    assert (first.error, second.error) == ("", "")
    nvml.events = [(0, 79), (0, 48)]
    assert gpus.read()[0].error == "the driver reported XID 48, 79; the GPU must be reset"
    assert len(nvml.registered) == 2
    assert "GPU-0: the driver reports XID 79" in caplog.text


def test_a_gpu_that_is_lost_leaves_the_others() -> None:
    nvml = FakeNvml()
    gpus = Gpus(nvml)
    gpus.read()
    nvml.lost = {0}
    assert [gpu.uuid for gpu in gpus.read()] == ["GPU-1"]


class Exposed(Collector):
    def __init__(self, *readings: GpuReading) -> None:
        self._readings = readings

    def collect(self) -> Any:  # noqa: ANN401
        return gpu_metrics(self._readings)


def exposition(*readings: GpuReading) -> list[str]:
    registry = CollectorRegistry()
    registry.register(Exposed(*readings))
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


def test_metrics_of_a_gpu() -> None:
    nvml = FakeNvml()
    gpus = Gpus(nvml)
    gpus.read()
    nvml.events = [(1, 31)]
    lines = exposition(*gpus.read())
    second = '{gpu="1",name="NVIDIA H100 80GB HBM3",uuid="GPU-1"}'
    for name, value in {
        "memory_used_bytes": "8e+10",
        "memory_total_bytes": "8.5520809984e+10",
        "utilization_ratio": "0.75",
        "temperature_celsius": "61.0",
        "power_watts": "412.345",
        "ecc_uncorrected_total": "2.0",
    }.items():
        assert f"gptoss_gpu_{name}{second} {value}" in lines
    assert f'gptoss_gpu_xid_errors_total{second[:-1]},xid="31"}} 1.0' in lines


def test_metrics_say_nothing_where_nothing_is_known() -> None:
    assert exposition() == []
    nvml = FakeNvml()
    nvml.missing = {"memory", "utilization", "temperature", "power", "ecc", "events"}
    assert exposition(*Gpus(nvml).read()) == []


@scenario
async def test_gpus_are_asked_in_time() -> None:
    loads: list[Nvml] = []

    def load() -> Nvml:
        loads.append(FakeNvml())
        return loads[0]

    watch = GpuWatch(load)
    assert len(watch.list_gpus()) == 2
    assert [gpu.index for gpu in await watch.read_gpus()] == [0, 1]
    assert len(await watch.read_gpus()) == 2
    assert len(loads) == 1


@scenario
async def test_a_driver_that_hangs_holds_nobody_up() -> None:
    nvml = FakeNvml()
    watch = GpuWatch(lambda: nvml, list_seconds=0.05, read_seconds=0.05)
    nvml.hang.clear()
    threads = threading.active_count()
    assert watch.list_gpus() == ()
    for _ in range(3):
        assert await watch.read_gpus() == ()
    assert threading.active_count() <= threads + 2
    nvml.hang.set()
    waiting = GpuWatch(lambda: nvml)
    assert len(await waiting.read_gpus()) == 2
    # What came late comes now.
    watch = GpuWatch(lambda: nvml, read_seconds=PATIENCE_SECONDS)
    assert len(await watch.read_gpus()) == 2


@scenario
async def test_without_a_driver_there_are_no_gpus() -> None:
    watch = GpuWatch(lambda: None)
    assert watch.list_gpus() == ()
    assert await watch.read_gpus() == ()


@pytest.mark.parametrize(("module", "words"), [(None, "install nvidia-ml-py"), ("fake", "NVIDIA's driver says init")])
def test_a_library_or_driver_that_is_not_there_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, module: str | None, words: str
) -> None:
    caplog.set_level(logging.INFO)
    broken = FakeNvml()
    broken.missing = {"init"}
    monkeypatch.setitem(sys.modules, "pynvml", broken if module else None)
    watch = GpuWatch()
    assert watch.list_gpus() == watch.list_gpus() == ()
    assert [words in record.getMessage() for record in caplog.records] == [True]
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    assert load_nvml() is sys.modules["pynvml"]
