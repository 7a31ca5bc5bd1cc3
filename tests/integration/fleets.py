"""What replicas there are and on which machines, as kubectl shows it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from e2e.kubectl import Kubectl


REPLICA = "app.kubernetes.io/component=replica"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Replica:
    """One replica's pod."""

    name: str
    """Of its StatefulSet."""
    uid: str
    wanted: str
    """Capacity type that it was created for."""
    node: str
    """Empty: it waits for one."""
    ready: bool


def replicas(user: Kubectl) -> list[Replica]:
    """Return the replicas whose pods are not leaving."""
    return sorted(_replica(pod) for pod in user.items("pods", "-l", REPLICA) if not _leaves(pod))


def ready_replicas(user: Kubectl) -> list[Replica]:
    """Return the replicas that answer requests."""
    return [replica for replica in replicas(user) if replica.ready]


def nodes_by_name(user: Kubectl, selector: str) -> dict[str, dict[str, Any]]:
    """Return the machines with a label."""
    return {node["metadata"]["name"]: node for node in user.items("nodes", "-l", selector)}


def created_at(user: Kubectl, replica: Replica) -> datetime:
    """Return when the operator created a replica, to the second."""
    stamp: str = user.json("get", "statefulset", replica.name)["metadata"]["creationTimestamp"]
    return datetime.fromisoformat(stamp)


def creations(user: Kubectl) -> dict[str, datetime]:
    """Return when the operator created each replica that it has not removed, by the uid of its StatefulSet."""
    metadata = [item["metadata"] for item in user.items("statefulsets", "-l", REPLICA)]
    return {each["uid"]: datetime.fromisoformat(each["creationTimestamp"]) for each in metadata}


def events(user: Kubectl, reason: str) -> list[str]:
    """Return the messages of all events with a reason, the oldest first."""
    found = [event for event in user.items("events") if event["reason"] == reason]
    return [event["message"] for event in sorted(found, key=lambda event: str(event["metadata"]["creationTimestamp"]))]


def _replica(pod: dict[str, Any]) -> Replica:
    labels = pod["metadata"]["labels"]
    conditions = pod["status"].get("conditions", [])
    return Replica(
        name=pod["metadata"]["name"].removesuffix("-0"),
        uid=pod["metadata"]["uid"],
        wanted=labels.get("gptoss.dev/capacity-type", ""),
        node=pod["spec"].get("nodeName", ""),
        ready=any(c["type"] == "Ready" and c["status"] == "True" for c in conditions),
    )


def _leaves(pod: dict[str, Any]) -> bool:
    return "deletionTimestamp" in pod["metadata"]
