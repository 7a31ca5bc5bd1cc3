"""What a model's weights take on one GPU, with the padding that each kind of kernel needs."""

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from gptoss_runtime.engine_options import MoeBackend
from gptoss_runtime.model.catalog import BF16_BYTES, MXFP4_ELEMENTS, ModelShape, expert_bytes
from gptoss_runtime.model.gpus import Kernel
from gptoss_runtime.model.stages import stages_of


_PADDING: Final[Mapping[Kernel, tuple[int, int]]] = MappingProxyType(
    {
        Kernel.MARLIN: (256, 128),
        Kernel.TRTLLM: (256, 128),
        Kernel.CUTLASS: (128, 128),
        Kernel.TRITON: (1, 64),
        Kernel.ROCM: (256, 256),
    }
)
"""Multiples of hidden size, and of an expert's width on one GPU (`vllm/.../fused_moe/oracle/mxfp4.py`)."""

TRITON_SWIZZLE: Final = Fraction(1063, 1000)
"""What Triton's layout for Hopper adds to the experts. Fitted: gpt-oss-120b on one H100 took 64.38 GiB."""

KERNEL_OF_BACKEND: Final[Mapping[MoeBackend, Kernel]] = MappingProxyType(
    {
        MoeBackend.TRITON: Kernel.TRITON,
        MoeBackend.TRITON_UNFUSED: Kernel.TRITON,
        MoeBackend.MARLIN: Kernel.MARLIN,
        MoeBackend.FLASHINFER_TRTLLM: Kernel.TRTLLM,
        MoeBackend.FLASHINFER_CUTLASS: Kernel.CUTLASS,
        MoeBackend.AITER: Kernel.ROCM,
    }
)


def weights_of_stages(
    shape: ModelShape, kernel: Kernel, *, tensor_parallel: int, pipeline_parallel: int, expert_parallel: bool
) -> tuple[int, ...]:
    """Return the bytes of weights on one GPU of each pipeline stage."""
    layer = _experts(shape, kernel, tensor_parallel, whole=expert_parallel) + _rest_of_layer(shape, tensor_parallel)
    table = shape.vocab * shape.hidden * BF16_BYTES // tensor_parallel
    norm = shape.hidden * BF16_BYTES
    last = pipeline_parallel - 1
    return tuple(
        len(stage) * layer + (table if number == 0 else 0) + (table + norm if number == last else 0)
        for number, stage in enumerate(stages_of(shape.layers, pipeline_parallel))
    )


def _experts(shape: ModelShape, kernel: Kernel, tensor_parallel: int, *, whole: bool) -> int:
    """Return the bytes of one layer's experts on one GPU: some experts whole, or a part of each."""
    experts = -(-shape.experts // tensor_parallel) if whole else shape.experts
    hidden, width = shape.hidden, shape.intermediate if whole else -(-shape.intermediate // tensor_parallel)
    if shape.mxfp4_experts:
        by_hidden, by_width = _PADDING[kernel]
        hidden, width = _up(hidden, by_hidden), _up(_up(width, MXFP4_ELEMENTS), by_width)
    matrices = expert_bytes(shape, experts * 3 * hidden * width) + experts * (2 * width + hidden) * BF16_BYTES
    if shape.mxfp4_experts and kernel is Kernel.TRITON:
        return int(matrices * TRITON_SWIZZLE)
    return matrices


def _rest_of_layer(shape: ModelShape, tensor_parallel: int) -> int:
    """Return the bytes of one layer's attention, router and norms on one GPU. Router and norms are on each."""
    heads, kv_heads = shape.heads // tensor_parallel, max(1, shape.kv_heads // tensor_parallel)
    queries, keys = heads * shape.head_dim, kv_heads * shape.head_dim
    attention = shape.hidden * (2 * queries + 2 * keys) + queries + 2 * keys + shape.hidden + heads
    router = shape.experts * (shape.hidden + 1)
    return (attention + router + 2 * shape.hidden) * BF16_BYTES


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
