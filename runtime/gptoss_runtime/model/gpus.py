"""The GPUs that the memory planner knows."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final


MIB: Final = 2**20
GIB: Final = 2**30

NVIDIA_RESERVED_BYTES: Final = 640 * MIB
"""What NVIDIA's driver keeps of the memory that it reports: 0.4 to 0.6 GiB on A100, H100, H200, L4 and L40S."""


class GpuType(StrEnum):
    """A GPU by the memory that it is sold with."""

    L4 = "L4"
    RTX_3090 = "RTX-3090"
    RTX_4090 = "RTX-4090"
    RTX_5090 = "RTX-5090"
    A10 = "A10"
    A10G = "A10G"
    A40 = "A40"
    A100_40 = "A100-40GB"
    A100_80 = "A100-80GB"
    A6000 = "A6000"
    L40 = "L40"
    L40S = "L40S"
    RTX_6000_ADA = "RTX-6000-Ada"
    RTX_PRO_6000 = "RTX-PRO-6000"
    H100 = "H100-80GB"
    H100_NVL = "H100-NVL-94GB"
    H200 = "H200"
    GH200 = "GH200-96GB"
    B200 = "B200"
    B300 = "B300"
    MI300X = "MI300X"
    MI325X = "MI325X"
    MI355X = "MI355X"


class Kernel(StrEnum):
    """Whose layout the experts' weights get in memory."""

    MARLIN = "marlin"
    TRITON = "triton"
    TRTLLM = "trtllm"
    CUTLASS = "cutlass"
    ROCM = "rocm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU, as far as memory depends on it."""

    name: str
    """A `GpuType`, or what else names it."""
    memory_bytes: int
    """All of its memory, as the driver reports it."""
    kernel: Kernel
    """Kernels that vLLM takes for MXFP4 experts where the user names none."""
    capability: tuple[int, int] | None
    """Compute capability, such as (9, 0). None: not an NVIDIA GPU, or not known."""
    is_slice: bool = False
    """Whether it is a part of a GPU (NVIDIA's MIG), which has no way to other parts or GPUs."""

    @property
    def is_amd(self) -> bool:
        """Whether it runs ROCm."""
        return self.kernel is Kernel.ROCM

    @property
    def usable_bytes(self) -> int:
        """What programs can get, which vLLM takes its share of."""
        return self.memory_bytes - (0 if self.is_amd else NVIDIA_RESERVED_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """One GPU as the driver describes it at a server's start."""

    name: str
    """NVML's name, such as `NVIDIA H100 80GB HBM3`."""
    memory_bytes: int
    """All of its memory, as the driver reports it."""
    capability: tuple[int, int] | None
    """Compute capability, such as (9, 0). None: not an NVIDIA GPU, or not known."""


def _nvidia(name: str, mebibytes: int, major: int, minor: int) -> Gpu:
    capability = (major, minor)
    return Gpu(name=name, memory_bytes=mebibytes * MIB, kernel=kernel_of(capability), capability=capability)


def _amd(name: str, gibibytes: int) -> Gpu:
    return Gpu(name=name, memory_bytes=gibibytes * GIB, kernel=Kernel.ROCM, capability=None)


def kernel_of(capability: tuple[int, int] | None) -> Kernel:
    """Return the kernels that vLLM 0.32 takes for MXFP4 experts on an NVIDIA GPU; unknown: those that need most."""
    match capability:
        case (9, _):
            return Kernel.TRITON
        case (10, _):
            return Kernel.TRTLLM
        case _:
            return Kernel.MARLIN


GPUS: Final[Mapping[GpuType, Gpu]] = MappingProxyType(
    {
        GpuType(gpu.name): gpu
        for gpu in (
            _nvidia(GpuType.L4, 23034, 8, 9),
            _nvidia(GpuType.RTX_3090, 24576, 8, 6),
            _nvidia(GpuType.RTX_4090, 24564, 8, 9),
            _nvidia(GpuType.RTX_5090, 32607, 12, 0),
            _nvidia(GpuType.A10, 23028, 8, 6),
            _nvidia(GpuType.A10G, 23028, 8, 6),
            _nvidia(GpuType.A40, 46068, 8, 6),
            _nvidia(GpuType.A100_40, 40960, 8, 0),
            _nvidia(GpuType.A100_80, 81920, 8, 0),
            _nvidia(GpuType.A6000, 49140, 8, 6),
            _nvidia(GpuType.L40, 46068, 8, 9),
            _nvidia(GpuType.L40S, 46068, 8, 9),
            _nvidia(GpuType.RTX_6000_ADA, 49140, 8, 9),
            _nvidia(GpuType.RTX_PRO_6000, 97887, 12, 0),
            _nvidia(GpuType.H100, 81559, 9, 0),
            _nvidia(GpuType.H100_NVL, 95830, 9, 0),
            _nvidia(GpuType.H200, 143771, 9, 0),
            _nvidia(GpuType.GH200, 97871, 9, 0),
            _nvidia(GpuType.B200, 183359, 10, 0),
            _nvidia(GpuType.B300, 275040, 10, 3),
            _amd(GpuType.MI300X, 191),
            _amd(GpuType.MI325X, 255),
            _amd(GpuType.MI355X, 287),
        )
    }
)
"""Each type as nvidia-smi and amd-smi describe it."""

_OLD: Final = tuple(
    (re.compile(pattern), gpu)
    for pattern, gpu in (
        ("-V100S?-", _nvidia("V100", 16384, 7, 0)),
        ("-T4G?-", _nvidia("T4", 15360, 7, 5)),
        ("-P100-", _nvidia("P100", 16384, 6, 0)),
        ("-P4-", _nvidia("P4", 7680, 6, 1)),
        ("-M60-", _nvidia("M60", 8192, 5, 2)),
        ("-K80-", _nvidia("K80", 12288, 3, 7)),
        ("-(QUADRO-RTX|TITAN-RTX|RTX-20[0-9]0)-", _nvidia("Turing", 8192, 7, 5)),
    )
)
"""GPUs of clouds that vLLM has no MXFP4 kernels for."""

_PRODUCTS: Final = tuple(
    (re.compile(pattern), GPUS[type_])
    for pattern, type_ in (
        ("-G?B300-", GpuType.B300),
        ("-G?B200-", GpuType.B200),
        ("-GH200-", GpuType.GH200),
        ("-H200-", GpuType.H200),
        ("-H100-(.*-)?(NVL|94GB)-", GpuType.H100_NVL),
        ("-H100-", GpuType.H100),
        ("-A100-(.*-)?80GB-", GpuType.A100_80),
        ("-A100-", GpuType.A100_40),
        ("-L40S-", GpuType.L40S),
        ("-L40-", GpuType.L40),
        ("-L4-", GpuType.L4),
        ("-A10G-", GpuType.A10G),
        ("-A10-", GpuType.A10),
        ("-A40-", GpuType.A40),
        ("-A6000-", GpuType.A6000),
        ("-RTX-PRO-(SERVER-)?6000-", GpuType.RTX_PRO_6000),
        ("-RTX-6000-ADA-", GpuType.RTX_6000_ADA),
        ("-RTX-?3090-", GpuType.RTX_3090),
        ("-RTX-?4090-", GpuType.RTX_4090),
        ("-RTX-?5090-", GpuType.RTX_5090),
        ("-MI300X-", GpuType.MI300X),
        ("-MI325X?-", GpuType.MI325X),
        ("-MI35[05]X-", GpuType.MI355X),
    )
)
"""Products as drivers, clouds and labels write them, in capitals and with `-` between words; the first that fits."""

_BIGGER: Final[Mapping[str, GpuType]] = MappingProxyType(
    {GpuType.A100_40: GpuType.A100_80, GpuType.H100: GpuType.H100_NVL}
)
"""Types whose name is also that of one with more memory, where the name leaves the memory out."""


def gpu_of_product(product: str, memory_bytes: int | None = None) -> Gpu | None:
    """Return the GPU that a product's name means. `memory_bytes` tells apart what has one name and two sizes."""
    words = f"-{re.sub('[^A-Z0-9]+', '-', product.upper())}-"
    found = next((gpu for pattern, gpu in (*_PRODUCTS, *_OLD) if pattern.search(words)), None)
    if found is None or memory_bytes is None:
        return found
    bigger = GPUS[_BIGGER[found.name]] if found.name in _BIGGER else found
    return bigger if memory_bytes > (found.memory_bytes + bigger.memory_bytes) // 2 else found


def gpu_of_memory(memory_bytes: int, *, amd: bool) -> Gpu:
    """Return a GPU of which only the memory is known, with the kernels whose weights are the largest."""
    kernel = Kernel.ROCM if amd else Kernel.MARLIN
    name = f"GPU of {memory_bytes / GIB:.0f} GiB"
    return Gpu(name=name, memory_bytes=memory_bytes, kernel=kernel, capability=None)


def gpu_of_device(facts: GpuFacts) -> Gpu:
    """Return the GPU that a driver describes. Its memory and capability are the driver's, not the type's."""
    known = gpu_of_product(facts.name, facts.memory_bytes)
    amd = known.is_amd if known else bool(re.search("amd|instinct|radeon", facts.name, re.IGNORECASE))
    capability = facts.capability or (known.capability if known else None)
    kernel = Kernel.ROCM if amd else kernel_of(capability)
    if known:
        return replace(known, memory_bytes=facts.memory_bytes, capability=capability, kernel=kernel)
    return Gpu(name=facts.name, memory_bytes=facts.memory_bytes, kernel=kernel, capability=capability)
