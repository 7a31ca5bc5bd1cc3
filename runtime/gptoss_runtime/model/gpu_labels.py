"""Which GPUs a node has, by the labels that others put on it. Pure."""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final

from gptoss_runtime.model.gpus import GIB, GPUS, MIB, Gpu, GpuType, gpu_of_product, kernel_of


_PRODUCT: Final = "nvidia.com/gpu.product"
"""NVIDIA's GPU feature discovery: the device's own name, with `-` for blanks."""
_MEMORY: Final = "nvidia.com/gpu.memory"
"""The same: MiB of one GPU, or of one slice where all of the node's GPUs are cut alike."""
_GKE_PRODUCT: Final = "cloud.google.com/gke-accelerator"
_GKE_SLICE: Final = "cloud.google.com/gke-gpu-partition-size"
_CLOUD_PRODUCTS: Final = ("karpenter.k8s.aws/instance-gpu-name", "eks.amazonaws.com/instance-gpu-name")
_CLOUD_MEMORIES: Final = ("karpenter.k8s.aws/instance-gpu-memory", "eks.amazonaws.com/instance-gpu-memory")
"""MiB as the cloud's catalogue says it, which is up to 0.4 GiB more than the driver."""
_AMD_PRODUCTS: Final = ("amd.com/gpu.product-name", "beta.amd.com/gpu.product-name")
_AMD_DEVICES: Final = ("amd.com/gpu.device-id", "beta.amd.com/gpu.device-id")
_AMD_MEMORIES: Final = ("amd.com/gpu.vram", "beta.amd.com/gpu.vram")
_INSTANCE_TYPE: Final = "node.kubernetes.io/instance-type"
_SHARERS: Final = ("nvidia.com/gpu.replicas", "cloud.google.com/gke-max-shared-clients-per-gpu")
"""Pods that one GPU is given to at a time."""

_MAJOR, _MINOR = "nvidia.com/gpu.compute.major", "nvidia.com/gpu.compute.minor"
_READ: Final = (
    *(_PRODUCT, _MEMORY, _MAJOR, _MINOR, _GKE_PRODUCT, _GKE_SLICE, _INSTANCE_TYPE, *_SHARERS),
    *(*_CLOUD_PRODUCTS, *_CLOUD_MEMORIES, *_AMD_PRODUCTS, *_AMD_DEVICES, *_AMD_MEMORIES),
)
"""All labels that are read."""

_AMD_DEVICE_IDS: Final[Mapping[str, GpuType]] = {
    "74a1": GpuType.MI300X,
    "74b5": GpuType.MI300X,
    "74a5": GpuType.MI325X,
    "74b9": GpuType.MI325X,
    "75a0": GpuType.MI355X,
    "75a3": GpuType.MI355X,
    "75b3": GpuType.MI355X,
}
"""PCI device ids, of the card itself and of its virtual function."""

_INSTANCE_TYPES: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), product)
    for pattern, product in (
        (r"^p6-b300\.", "B300"),
        (r"^p6-b200\.", "B200"),
        (r"^p5en?\.", "H200"),
        (r"^p5\.", "H100"),
        (r"^p4de\.", "A100-80GB"),
        (r"^p4d\.", "A100-40GB"),
        (r"^p3(dn)?\.", "V100"),
        (r"^g7e\.", "RTX-PRO-6000"),
        (r"^g6e\.", "L40S"),
        (r"^g6\.", "L4"),
        (r"^g5\.", "A10G"),
        (r"^g4dn\.", "T4"),
        (r"^standard_nc\d+as_t4_v3$", "T4"),
        (r"^standard_nc\d+r?s_v3$", "V100"),
        (r"^standard_nd96asr_v4$", "A100-40GB"),
        (r"^standard_(nd96amsr|nc\d+ads)_a100_v4$", "A100-80GB"),
        (r"^standard_nc\d+adis_h100_v5$", "H100-NVL"),
        (r"^standard_nd96isr_h100_v5$", "H100"),
        (r"^standard_nd96isr_h200_v5$", "H200"),
        (r"^standard_nd96isr_mi300x_v5$", "MI300X"),
    )
)
"""Machines of AWS and Azure whose name decides the GPU; their nodes often carry no label that names it."""


def gpu_of_labels(labels: Mapping[str, str]) -> Gpu | None:
    """Return what one GPU of a node is. None: no label says it, or pods share the GPU, so that its memory is not known.

    The driver's own words go before the cloud's, and those before the type of the machine.
    """
    return _gpu_of(tuple(labels.get(name, "") for name in _READ))


@lru_cache(maxsize=256)  # a cluster has many nodes and few kinds of them
def _gpu_of(values: tuple[str, ...]) -> Gpu | None:
    labels = dict(zip(_READ, values, strict=True))
    if any(_whole(labels[name]) > 1 for name in _SHARERS) or labels[_PRODUCT].endswith("-SHARED"):
        return None
    if product := labels[_PRODUCT]:
        return _described(product, labels)
    if product := labels[_GKE_PRODUCT]:
        return _sliced(gpu_of_product(product), labels[_GKE_SLICE])
    cloud_bytes = _whole(_first(labels, _CLOUD_MEMORIES)) * MIB
    if product := _first(labels, _CLOUD_PRODUCTS):
        return gpu_of_product(product, cloud_bytes or None)
    if gpu := _amd(labels):
        return gpu
    instance = labels[_INSTANCE_TYPE]
    return next((gpu_of_product(product) for kind, product in _INSTANCE_TYPES if kind.search(instance)), None)


def _described(product: str, labels: Mapping[str, str]) -> Gpu | None:
    """Return the GPU of GPU feature discovery's labels; a product that is not known needs its memory's label."""
    memory = _whole(labels[_MEMORY]) * MIB
    gpu = gpu_of_product(product, memory or None)
    slice_of = re.search(r"-MIG-(\S+)$", product)
    if gpu is None:
        capability = _capability(labels)
        if not memory:
            return None
        return Gpu(
            name=product,
            memory_bytes=memory,
            kernel=kernel_of(capability),
            capability=capability,
            is_slice=slice_of is not None,
        )
    if slice_of:
        gpu = _sliced(gpu, slice_of[1])
    return replace(gpu, memory_bytes=memory) if gpu and memory else gpu


def _sliced(gpu: Gpu | None, size: str) -> Gpu | None:
    """Return a slice of a GPU, such as `3g.40gb`; an empty size is the whole."""
    gigabytes = re.search(r"(\d+)gb", size)
    if gpu is None or not size:
        return gpu
    if gigabytes is None:
        return None
    memory_bytes = int(gigabytes[1]) * 10**9
    return replace(gpu, name=f"{gpu.name} slice {size}", memory_bytes=memory_bytes, is_slice=True)


def _amd(labels: Mapping[str, str]) -> Gpu | None:
    product, device = _first(labels, _AMD_PRODUCTS), _first(labels, _AMD_DEVICES)
    gpu = gpu_of_product(product) if product else None
    if gpu is None and (type_ := _AMD_DEVICE_IDS.get(device.lower())):
        gpu = GPUS[type_]
    vram = re.fullmatch(r"(\d+)G", _first(labels, _AMD_MEMORIES))
    if gpu is None or vram is None:
        return gpu
    # A whole number of GiB, rounded to either side: the smaller of it and the type's own is there in any case.
    return replace(gpu, memory_bytes=min(gpu.memory_bytes, int(vram[1]) * GIB))


def _capability(labels: Mapping[str, str]) -> tuple[int, int] | None:
    major = _whole(labels[_MAJOR])
    return (major, _whole(labels[_MINOR])) if major else None


def _first(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((labels[name] for name in names if labels[name]), "")


def _whole(text: str) -> int:
    """Return the number in a label, 0 where there is none."""
    return int(text) if text.isdecimal() else 0
