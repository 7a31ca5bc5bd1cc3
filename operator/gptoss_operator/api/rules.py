"""CEL rules of the schema, which the API server checks before anything else sees the object."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """One `x-kubernetes-validations` entry, beside the object that `self` is."""

    expression: str
    message: str
    field: str | None = None
    """Field of the object that the refusal names, as users write it. None: the object itself."""


OWNED_FLAGS = (
    "host",
    "port",
    "uds",
    "model",
    "served[-_]model[-_]name",
    "tensor[-_]parallel[-_]size",
    "tp",
    "max[-_]model[-_]len",
    "max[-_]num[-_]seqs",
    "gpu[-_]memory[-_]utilization",
    "revision",
    "middleware",
    "api[-_]key",
    "root[-_]path",
    "ssl[-_].*",
    "shutdown[-_]timeout",
    "config",
)
"""Arguments of `vllm serve` that follow from other fields, as parts of a pattern."""

OWNED_FLAG_PATTERN = f"^--?({'|'.join(OWNED_FLAGS)})(=.*)?$"
