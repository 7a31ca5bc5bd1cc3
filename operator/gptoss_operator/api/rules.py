"""CEL rules of the schema, which the API server checks before anything else sees the object."""

import re
from dataclasses import dataclass

from gptoss_runtime.orders import OWNED_FLAGS


LONGEST_PATTERN = 650
"""Characters of names in one pattern. It is matched with up to 64 arguments of up to 2048 characters."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One `x-kubernetes-validations` entry, beside the object that `self` is."""

    expression: str
    message: str
    field: str | None = None
    """Field of the object that the refusal names, as users write it. None: the object itself."""


def owned_flag_patterns() -> tuple[str, ...]:
    """Return regular expressions (RE2), one of which each plain spelling of an argument that is ours matches.

    There are several, each for a rule of its own: the API server refuses a rule whose estimated cost, which grows with
    the pattern, is above its budget.
    """
    parts: list[list[str]] = [[]]
    for flag in OWNED_FLAGS:
        name = flag.removeprefix("--").replace("-", "[-_]")
        if len("|".join((*parts[-1], name))) > LONGEST_PATTERN:
            parts.append([])
        parts[-1].append(name)
    return tuple(f"^--(no-)?({'|'.join(names)})([.=].*)?$" for names in parts)


def owned_flag(argument: str) -> str | None:
    """Return which of vLLM's arguments that are ours `argument` is a plain spelling of: what the patterns match."""
    found = re.match(r"--(?:no-)?([^.=]+)", argument)
    flag = f"--{found[1].replace('_', '-')}" if found else ""
    return flag if flag in OWNED_FLAGS else None
