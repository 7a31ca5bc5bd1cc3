"""What the objects of each child kind are decoded to."""

from collections.abc import Mapping
from typing import Final

import msgspec

from gptoss_operator.core.objects import Child, Record
from gptoss_operator.core.observation import Manifest
from gptoss_operator.shell.resources import REVISION


STRUCTS: Final[Mapping[str, type[Child]]] = {REVISION: Record}
"""Kinds of which more is read than of the others."""


def struct_of(kind: str) -> type[Child]:
    """Return the struct for the objects of a child kind."""
    return STRUCTS.get(kind, Child)


def child_of(kind: str, answer: Manifest) -> Child:
    """Return what the API server has answered about a child, as the reflector of its kind would show it."""
    # By way of JSON, since a part of it may be kept as such.
    return msgspec.json.decode(msgspec.json.encode(answer), type=struct_of(kind))
