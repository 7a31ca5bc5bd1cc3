"""What was needed at each time of the past week, kept in a ConfigMap so that it outlives this process."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from gptoss_operator.api.names import ANNOTATION_WEEK, COMPONENT_HISTORY, history
from gptoss_operator.api.spec import GptOssSpec, follows_load
from gptoss_operator.core.memory import Memory
from gptoss_operator.core.observation import ChildKey, Manifest, Observation
from gptoss_operator.core.render.common import metadata
from gptoss_operator.core.scaling.week import decode_week, encode_week


KEPT_EVERY_SECONDS: Final = 3600.0
"""How often it is written at most. A restart loses no more than that."""


def keeps_history(spec: GptOssSpec) -> bool:
    """Return whether the week counts for the number of replicas."""
    return follows_load(spec) and spec.scaling is not None and spec.scaling.prediction.same_time_last_week


def recall_week(memory: Memory, seen: Observation) -> Memory:
    """Return the memory of a new process with the week that the one before has kept."""
    kept = _kept(seen)
    if not kept or memory.scaling.since is not None or memory.scaling.week.needs:
        return memory
    return replace(memory, scaling=replace(memory.scaling, week=decode_week(kept)))


def keep_history(
    spec: GptOssSpec, seen: Observation, memory: Memory, now: datetime
) -> tuple[Mapping[ChildKey, Manifest], Memory]:
    """Return the ConfigMap, none if the week does not count, and the memory of when it was written."""
    if not keeps_history(spec):
        return {}, memory
    kept, week = _kept(seen), encode_week(memory.scaling.week)
    age = now.timestamp() - memory.week_kept_at
    if week and week != kept and (kept is None or not 0 <= age < KEPT_EVERY_SECONDS):
        kept, memory = week, replace(memory, week_kept_at=now.timestamp())
    owner = seen.owner
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            **metadata(owner, history(owner.name), COMPONENT_HISTORY),
            "annotations": {ANNOTATION_WEEK: kept or ""},
        },
    }
    return {ChildKey("ConfigMap", history(owner.name)): manifest}, memory


def _kept(seen: Observation) -> str | None:
    """Return what the ConfigMap says. None: there is none."""
    child = seen.children.get(ChildKey("ConfigMap", history(seen.owner.name)))
    return child.object.metadata.annotations.week if child else None
