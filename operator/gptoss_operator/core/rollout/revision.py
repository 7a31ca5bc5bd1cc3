"""What makes a revision: everything in the spec that running replicas can only get by starting again.

The hash is of what the user says and of the defaults that were resolved for the object, never of what a release renders
from it. So the same input has the same hash in every release, and an upgrade of the operator makes no other revision.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.core.actions import digest_of


REVISION_LENGTH: Final = 10
LONGEST_CHANGE: Final = 128
CHANGES_SHOWN: Final = 16

Inputs = dict[str, Any]
"""The fields that a revision is made of, as users write them, without those that have their first default."""

FIRST_DEFAULTS: Final[Mapping[str, Any]] = {}
"""Fields whose default a release has changed, such as `engine.maxNumSeqs`, and the default that they had first: what
has it is left out of the hash, and what has the new one is not. A test with recorded hashes fails until it is here."""

NOT_IN_A_POD: Final = {"persistent_volume_claim": {"size", "storage_class_name", "access_mode"}}
"""What is said of the cache's claim is the claim's, and not a replica's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What the spec leaves to defaults, as it was chosen for the object."""

    image: str
    tensor_parallel: int
    model_revision: str = ""
    """Of the default source on the hub. Empty: the repository's default branch."""


def inputs_of(spec: GptOssSpec, resolved: Resolved) -> Inputs:
    """Return what a revision of `spec` is made of.

    Left out is what reaches a replica otherwise, or only matters while one is made: labels, annotations, priority,
    pull secrets, places, prices, scaling, routing, and the prompts that a new replica is asked.
    """
    said: Inputs = {
        "model": _said(spec.model),
        "image": resolved.image,
        "tensorParallel": resolved.tensor_parallel,
        "cache": spec.cache.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=NOT_IN_A_POD),
        "gpu": _said(spec.gpu, {"resource", "node_selector", "tolerations", "runtime_class_name"}),
        "engine": _said(spec.engine),
        "health": _said(spec.health),
        "interruption": _said(spec.interruption),
        "pod": _said(spec.pod, {"env", "resources", "shared_memory", "service_account_name"}),
        **_said(spec, {"drain_seconds"}),
        "trigger": spec.rollout.trigger,
        "modelRevision": resolved.model_revision,
    }
    kept = {name: value for name, value in said.items() if value not in ({}, "")}
    for path, first in FIRST_DEFAULTS.items():
        _set_first_default(spec, kept, path.split("."), first)
    return kept


def defaults_of(spec: GptOssSpec, resolved: Resolved) -> dict[str, str]:
    """Return which of the inputs the spec does not say."""
    image = {} if spec.image else {"image": resolved.image}
    return {**image, **({"modelRevision": resolved.model_revision} if resolved.model_revision else {})}


def revision_of(inputs: Inputs) -> str:
    """Return the short hash that names a revision."""
    return digest_of(inputs)[:REVISION_LENGTH]


def changes_between(before: Inputs, after: Inputs) -> tuple[str, ...]:
    """Return the paths of the fields that differ, such as `engine.maxModelLen`."""
    was, now = _flat(before), _flat(after)
    paths = sorted(path for path in {*was, *now} if was.get(path) != now.get(path))
    return tuple(path[:LONGEST_CHANGE] for path in paths[:CHANGES_SHOWN])


def _said(model: Any, include: set[str] | None = None) -> Inputs:  # noqa: ANN401 - any of the API's models
    said: Inputs = model.model_dump(mode="json", by_alias=True, exclude_defaults=True, include=include)
    return said


def _flat(inputs: Inputs, prefix: str = "") -> Inputs:
    found: Inputs = {}
    for name, value in inputs.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _set_first_default(spec: GptOssSpec, inputs: Inputs, path: list[str], first: Any) -> None:  # noqa: ANN401 - a field's
    """Leave out a field that has its first default, and put in one that has the default of now."""
    value: Any = spec.model_dump(mode="json", by_alias=True)
    for part in path:
        value = value[part]
    *parents, name = path
    for parent in parents:
        inputs = inputs.setdefault(parent, {})
    if value == first:
        inputs.pop(name, None)
    else:
        inputs[name] = value
