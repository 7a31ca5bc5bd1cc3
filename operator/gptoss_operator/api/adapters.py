"""LoRA adapters that a user gives vLLM in `spec.engine.extraArgs`, as vLLM itself reads them."""

import json
from collections.abc import Iterator, Sequence


FLAG = "--lora-modules"


def adapter_names(extra_args: Sequence[str]) -> tuple[str, ...]:
    """Return the names under which the adapters of `--lora-modules` are served, in their order.

    Each value is `NAME=PATH`, or JSON such as `{"name": ..., "path": ...}`. When the argument is given twice, vLLM
    takes the last. A value that it will refuse has no name here: the replica's server says what is wrong with it.
    """
    values: list[str] = []
    for place, argument in enumerate(extra_args):
        flag, equals, value = argument.partition("=")
        if flag.replace("_", "-") == FLAG:
            values = [value] if equals else list(_until_next_flag(extra_args[place + 1 :]))
    return tuple(name for value in values if (name := _name(value)))


def _until_next_flag(arguments: Sequence[str]) -> Iterator[str]:
    for argument in arguments:
        if argument.startswith("-"):
            return
        yield argument


def _name(value: str) -> str:
    """Return the adapter's name in one value. What has a comma is JSON to vLLM, as is what has no `=`."""
    if "=" in value and "," not in value:
        return value.partition("=")[0]
    try:
        adapter = json.loads(value)
    except (ValueError, RecursionError):
        return ""
    name = adapter.get("name") if isinstance(adapter, dict) else None
    return name if isinstance(name, str) else ""
