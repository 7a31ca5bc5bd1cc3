"""What became of replicas' pods, from the API server's audit log: every change, also those between two looks."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from gptoss_operator.api.names import (
    ANNOTATION_TRAFFIC,
    COMPONENT_REPLICA,
    LABEL_COMPONENT,
    LABEL_DEPLOYMENT,
    LABEL_REVISION,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSeen:
    """A replica's pod as it was after one change."""

    at: float
    """In seconds since 1970."""
    name: str
    uid: str
    revision: str
    traffic: str
    """What its annotation grants it: closed, open, or a share in percent."""
    ready: bool
    """Whether it takes requests, as far as Kubernetes knows, and stays."""
    leaves: bool
    """Whether it has been deleted."""


def replicas_seen(lines: Iterable[str], namespace: str, deployment: str) -> list[PodSeen]:
    """Return the changes of a deployment's replica pods, in the order in which they were made."""
    seen = [pod for line in lines if (pod := _pod_of(json.loads(line), namespace, deployment))]
    return sorted(seen, key=lambda pod: pod.at)


def ready_over_time(seen: Sequence[PodSeen]) -> list[tuple[float, int]]:
    """Return each moment at which another number of pods was ready, with that number."""
    numbers: list[tuple[float, int]] = []
    for at, pods in _there(seen):
        ready = sum(pod.ready for pod in pods)
        if not numbers or numbers[-1][1] != ready:
            numbers.append((at, ready))
    return numbers


def lowest_ready(seen: Sequence[PodSeen], since: float, until: float) -> int:
    """Return how many pods were ready at the worst moment from `since` to `until`."""
    numbers = ready_over_time(seen)
    before = [ready for at, ready in numbers if at <= since][-1:]
    return min([*before, *(ready for at, ready in numbers if since < at <= until)])


def most_at_once(seen: Sequence[PodSeen], revision: str) -> int:
    """Return how many pods of a revision were there at the same time, at most."""
    return max((sum(pod.revision == revision for pod in pods) for _, pods in _there(seen)), default=0)


def _there(seen: Sequence[PodSeen]) -> Iterator[tuple[float, list[PodSeen]]]:
    """Yield the moment of each change with the pods that stay after it."""
    pods: dict[str, PodSeen] = {}
    for change in seen:
        pods[change.uid] = change
        yield change.at, [pod for pod in pods.values() if not pod.leaves]


def _pod_of(event: dict[str, Any], namespace: str, deployment: str) -> PodSeen | None:
    """Return the replica's pod that an event of the log is about. None: it is about something else, or failed."""
    pod = event.get("responseObject") or {}
    meta = pod.get("metadata") or {}
    labels = meta.get("labels") or {}
    ours = (meta.get("namespace"), labels.get(LABEL_DEPLOYMENT)) == (namespace, deployment)
    failed = event.get("responseStatus", {}).get("code", 0) >= HTTPStatus.BAD_REQUEST
    if pod.get("kind") != "Pod" or not ours or failed or labels.get(LABEL_COMPONENT) != COMPONENT_REPLICA:
        return None
    leaves = event["verb"] == "delete" or "deletionTimestamp" in meta
    conditions = pod.get("status", {}).get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return PodSeen(
        at=datetime.fromisoformat(event["stageTimestamp"]).timestamp(),
        name=meta["name"],
        uid=meta["uid"],
        revision=labels.get(LABEL_REVISION, ""),
        traffic=(meta.get("annotations") or {}).get(ANNOTATION_TRAFFIC, ""),
        ready=ready and not leaves,
        leaves=leaves,
    )
