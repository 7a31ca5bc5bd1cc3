"""The GPUs that the memory planner knows."""

from dataclasses import dataclass
from enum import StrEnum


class GpuType(StrEnum):
    """A GPU by the memory that it is sold with."""

    L4 = "L4"
    RTX_4090 = "RTX-4090"
    RTX_5090 = "RTX-5090"
    A10G = "A10G"
    A100_40 = "A100-40GB"
    A100_80 = "A100-80GB"
    A6000 = "A6000"
    L40S = "L40S"
    RTX_PRO_6000 = "RTX-PRO-6000"
    H100 = "H100-80GB"
    H200 = "H200"
    GH200 = "GH200-96GB"
    B200 = "B200"
    B300 = "B300"
    MI300X = "MI300X"
    MI325X = "MI325X"
    MI355X = "MI355X"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """One GPU as the driver describes it at a server's start."""

    name: str
    """NVML's name, such as `NVIDIA H100 80GB HBM3`."""
    memory_bytes: int
    """All of its memory, as the driver reports it."""
    capability: tuple[int, int] | None
    """Compute capability, such as (9, 0). None: not an NVIDIA GPU, or not known."""
