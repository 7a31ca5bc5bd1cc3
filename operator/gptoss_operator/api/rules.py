"""CEL rules of the schema, which the API server checks before anything else sees the object."""

from dataclasses import dataclass

from gptoss_runtime.orders import OWNED_FLAGS


@dataclass(frozen=True, slots=True)
class Rule:
    """One `x-kubernetes-validations` entry, beside the object that `self` is."""

    expression: str
    message: str
    field: str | None = None
    """Field of the object that the refusal names, as users write it. None: the object itself."""


def owned_flag_pattern() -> str:
    """Return a regular expression (RE2) that the plain spellings of vLLM's arguments that are ours match."""
    names = "|".join(flag.removeprefix("--").replace("-", "[-_]") for flag in OWNED_FLAGS)
    return f"^--(no-)?({names})([.=].*)?$"
