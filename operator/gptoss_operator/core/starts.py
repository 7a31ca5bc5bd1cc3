"""How long replicas take to become ready, from those that were seen to."""

import math
from collections.abc import Sequence
from dataclasses import replace

from gptoss_operator.core.health import condition_since, holds
from gptoss_operator.core.memory import STARTS_KEPT, Memory
from gptoss_operator.core.objects import Pod
from gptoss_operator.core.scaling.supply import ColdStart


def watch_starts(pods: Sequence[Pod], memory: Memory) -> Memory:
    """Return the memory with the starts that have ended since the last pass.

    Only a pod that was seen before it was ready counts: the time of the condition alone may be that of a later moment
    at which it was ready again.
    """
    ready = {pod.metadata.uid: condition_since(pod, "Ready") for pod in pods if holds(pod, "Ready")}
    ended = [
        (since - pod.metadata.creation_timestamp).total_seconds()
        for pod in pods
        if pod.metadata.uid in memory.starting
        and pod.metadata.creation_timestamp is not None
        and (since := ready.get(pod.metadata.uid)) is not None
    ]
    still = frozenset(
        pod.metadata.uid
        for pod in pods
        if pod.metadata.uid not in ready
        and pod.metadata.deletion_timestamp is None
        and (pod.metadata.uid in memory.starting or not _was_ready(pod))
    )
    return replace(memory, starts=(*memory.starts, *(s for s in ended if s >= 0))[-STARTS_KEPT:], starting=still)


def cold_start(starts: Sequence[float]) -> ColdStart:
    """Return what is known of starts. The percentiles are those starts that so many took no longer than."""
    if not starts:
        return ColdStart()
    ordered = sorted(starts)
    return ColdStart(p50_seconds=_rank(ordered, 0.5), p90_seconds=_rank(ordered, 0.9), starts=len(ordered))


def _rank(ordered: Sequence[float], share: float) -> float:
    return ordered[math.ceil(share * len(ordered)) - 1]


def _was_ready(pod: Pod) -> bool:
    """Return whether it may have been ready before: its server has ended once, or has passed its startup probe."""
    return any(container.restart_count > 0 or container.started for container in pod.status.container_statuses)
