"""Computes what a transformer says with the tiny model's numbers, without a library that runs models."""

import json
import math
import struct
from pathlib import Path

from e2e.model.weights import OFFERED, REASONED, SIGNAL, Size


def read_header(path: Path) -> tuple[dict[str, dict[str, object]], int]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__")
    return header, 8 + length


def read_numbers(path: Path, name: str) -> memoryview:
    """Return a matrix's bytes, two for each number, in rows."""
    header, start = read_header(path)
    offsets = header[name]["data_offsets"]
    assert isinstance(offsets, list)
    return memoryview(path.read_bytes())[start + offsets[0] : start + offsets[1]]


def number(two_bytes: memoryview | bytes) -> float:
    value: float = struct.unpack("<f", b"\0\0" + bytes(two_bytes))[0]
    return value


class TinyModel:
    """What a transformer computes from the written numbers, as far as they are not zero."""

    def __init__(self, weights: Path) -> None:
        self._hidden = Size().hidden
        self._embedding = read_numbers(weights, "model.embed_tokens.weight")
        self._head = self._sparse_rows(read_numbers(weights, "lm_head.weight"))
        self._key = self._sparse_rows(read_numbers(weights, "model.layers.1.self_attn.k_proj.weight"))

    def _sparse_rows(self, matrix: memoryview) -> dict[int, dict[int, float]]:
        width = 2 * self._hidden
        empty = bytes(width)
        return {
            row: self._row(matrix, row)
            for row in range(len(matrix) // width)
            if matrix[row * width : (row + 1) * width] != empty
        }

    def _row(self, matrix: memoryview, row: int) -> dict[int, float]:
        width = 2 * self._hidden
        numbers = ((place, number(matrix[row * width + 2 * place :][:2])) for place in range(self._hidden))
        return {place: value for place, value in numbers if value}

    def logits(self, tokens: list[int]) -> dict[int, float]:
        """Return the logits that are not zero after these tokens."""
        seen = {place for token in set(tokens) for place in self._row(self._embedding, token)}
        state = self._row(self._embedding, tokens[-1])
        for row, attended in self._key.items():
            # One group of heads for each dimension that attention sets.
            if seen & set(attended):
                state = state | {(REASONED, OFFERED)[row // Size().head_dimension]: SIGNAL}
        norm = math.sqrt(sum(value * value for value in state.values()) / self._hidden)
        logits = {
            token: sum(weight * state.get(place, 0.0) / norm for place, weight in row.items())
            for token, row in self._head.items()
        }
        return {token: logit for token, logit in logits.items() if logit}


def generate(model: TinyModel, prompt: list[int], *, stop: int, banned_until: int = 0) -> list[int]:
    tokens = list(prompt)
    while len(tokens) - len(prompt) < 300:
        logits = model.logits(tokens)
        if len(tokens) - len(prompt) < banned_until:
            logits.pop(stop, None)
        best, *others = sorted(logits, key=lambda token: logits[token], reverse=True)
        # Otherwise sampling could take another one.
        assert logits[best] - max((logits[token] for token in others), default=0.0) >= 40
        tokens.append(best)
        if best == stop:
            break
    return tokens[len(prompt) :]
