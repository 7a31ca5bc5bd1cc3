"""Which files of a model's repository vLLM needs. Pure."""

import json
import re
from collections.abc import Set as AbstractSet

from gptoss_runtime.weights.errors import FetchError


INDEX = "model.safetensors.index.json"
"""Names the weight files of a model that has more than one."""

_SHARDED_STATE = re.compile(r"model-rank-\d+-part-\d+\.safetensors")
"""What vLLM's load format sharded_state reads. Such a directory may carry the index of files that it lacks."""
_WEIGHTS = (".safetensors", ".tensors")
"""The latter is load format tensorizer's."""
_BESIDE = (".json", ".jinja", ".model", ".tiktoken")
_TEXTS = frozenset({"merges.txt", "vocab.txt"})
_USELESS_JSON = frozenset({"pytorch_model.bin.index.json", "trainer_state.json"})
_ROOTS = frozenset({"config.json", "adapter_config.json"})
"""A model has the first, a LoRA adapter the second."""
_OTHER_FORMATS = (".bin", ".gguf", ".pt", ".pth")


def needed_files(names: AbstractSet[str], index: str | None) -> tuple[str, ...]:
    """Return the files to fetch, weights last, of those that lie at the root of a repository.

    `index` is the text of `INDEX` where there is one. Never `original/` and `metal/`, which hold the same weights again
    in formats that vLLM does not read, nor pictures and texts for people.
    A name that is no plain one, with a directory or signs that cannot be shown, is passed over.
    Raises FetchError where there are no weights, or fewer than the index names.
    """
    names = {name for name in names if name.isprintable() and "/" not in name}
    if not names & _ROOTS:
        raise FetchError(f"there is no config.json (nor adapter_config.json) in it, but {_some(names)}")
    beside = {
        name
        for name in names
        if (name.endswith(_BESIDE) and name not in _USELESS_JSON and not name.startswith(".")) or name in _TEXTS
    }
    weights = {name for name in names if name.endswith(_WEIGHTS)}
    if index is not None and not any(_SHARDED_STATE.fullmatch(name) for name in names):
        named = indexed_files(index)
        if missing := named - names:
            raise FetchError(f"its {INDEX} names files that are not in it: {_some(missing)}")
        weights = {name for name in weights if name in named or name.startswith("adapter_")}
    if not weights:
        others = {name for name in names if name.endswith(_OTHER_FORMATS)}
        raise FetchError(
            f"it has no safetensors file at its root, but {_some(others or names)}: convert the weights to safetensors"
        )
    return (*sorted(beside), *sorted(weights))


def indexed_files(index: str) -> frozenset[str]:
    """Return the files that the text of `INDEX` names. Raises FetchError where it is no such text."""
    try:
        files = frozenset(json.loads(index)["weight_map"].values())
        plain = all(isinstance(name, str) and name.endswith(".safetensors") and "/" not in name for name in files)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FetchError(f"its {INDEX} is no index of safetensors files: {error!r}") from error
    if not plain:
        raise FetchError(f"its {INDEX} names something else than safetensors files beside it: {_some(files)}")
    return files


def _some(names: AbstractSet[str]) -> str:
    shown = sorted(names)[:5]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"{', '.join(shown)}{more}" if shown else "nothing"
