"""Tensors of 16-bit brain floats, and the safetensors file format.

Format: eight bytes with the length of a JSON header, the header, and the tensors' bytes one after the other.
"""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self


ALIGNMENT = 8
"""The header is padded with spaces to a multiple of this, so that the numbers behind it are aligned."""


def bfloat16(value: float) -> bytes:
    """Return the two bytes of a number, cut off, not rounded: exact for numbers of up to eight significant bits."""
    return struct.pack("<f", value)[2:]


class Tensor:
    """A tensor that has one value nearly everywhere."""

    def __init__(self, shape: Sequence[int], fill: float = 0.0) -> None:
        self.shape = tuple(shape)
        self.content = bytearray(bfloat16(fill) * math.prod(self.shape))

    @classmethod
    def of_equal_rows(cls, rows: int, row: Sequence[float]) -> Self:
        """Return a matrix whose rows are all the same."""
        tensor = cls((rows, 0))
        tensor.shape = (rows, len(row))
        tensor.content = bytearray(b"".join(map(bfloat16, row)) * rows)
        return tensor

    def put(self, index: Sequence[int], value: float) -> None:
        """Set one element."""
        flat = 0
        for position, size in zip(index, self.shape, strict=True):
            flat = flat * size + position
        self.content[2 * flat : 2 * flat + 2] = bfloat16(value)


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors in the given order."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + len(tensor.content)
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % ALIGNMENT)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for tensor in tensors.values():
            file.write(tensor.content)
