"""Whether a replica will lose its machine, or has lost it: by what it was told, its node, its pod, and its silence."""

from dataclasses import dataclass
from datetime import datetime

from gptoss_operator.api.placement import SpotSpec
from gptoss_operator.core.fleet import Replica
from gptoss_operator.core.health import is_node_gone, not_ready
from gptoss_operator.core.notices import COMING
from gptoss_operator.core.objects import Node, Pod
from gptoss_operator.core.observation import Observation
from gptoss_operator.core.placement.notice_facts import node_notice, pod_notice
from gptoss_operator.core.placement.places import Stage
from gptoss_runtime.contract import Notice, NoticeKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """Why a replica is no supply any more."""

    stage: Stage
    """Doomed or lost."""
    words: str
    machine_goes: bool = True
    """Whether its machine goes or is gone, as far as it is known, and not only its pod."""
    since: datetime | None = None
    """When it was lost. None: nobody says so, or it is not lost."""

    @property
    def is_silence(self) -> bool:
        """Whether nobody has announced it."""
        return self.stage is Stage.LOST


def fate_of(replica: Replica, seen: Observation, spot: SpotSpec, now: datetime) -> Fate | None:
    """Return why `replica` is to be replaced although nobody asked for it. None: nothing is known against it.

    A rebalance recommendation is none: nothing is certain then.
    """
    pod = replica.pod
    if pod is None:
        return None
    node = seen.nodes.get(pod.spec.node_name)
    return (
        _announced(replica.judgement.notice)
        or _announced(node_notice(node, spot))
        or _taken_off(pod)
        or (_gone(pod) if is_node_gone(pod, seen.nodes, now) else None)
        or _node_silent(node)
        or _silent(replica, pod, seen)
    )


def is_at_risk(replica: Replica, seen: Observation, spot: SpotSpec) -> bool:
    """Return whether somebody says that its machine may go soon."""
    node = seen.nodes.get(replica.pod.spec.node_name) if replica.pod else None
    said = (replica.judgement.notice, node_notice(node, spot))
    return any(notice is not None and notice.kind is NoticeKind.REBALANCE for notice in said)


def _announced(notice: Notice | None) -> Fate | None:
    """Return what the replica was told, or its node says, of the machine's end."""
    if notice is None or notice.kind is NoticeKind.REBALANCE:
        return None
    what, _ = COMING[notice.kind]
    return Fate(stage=Stage.DOOMED, words=f"{what} ({notice.source})")


def _taken_off(pod: Pod) -> Fate | None:
    """Return what the pod says of its own end. Its machine may stay."""
    if on_pod := pod_notice(pod):
        return Fate(stage=Stage.DOOMED, words=f"it is taken off its node ({on_pod.source})", machine_goes=False)
    return None


def _gone(pod: Pod) -> Fate:
    return Fate(stage=Stage.DOOMED, words=f"its node {pod.spec.node_name} is gone")


def _node_silent(node: Node | None) -> Fate | None:
    """Return that the kubelet does not answer. It may come back."""
    silent = not_ready(node)
    if node is None or silent is None:
        return None
    words = f"its node {node.metadata.name} is not ready"
    return Fate(stage=Stage.LOST, words=words, since=silent.last_transition_time)


def _silent(replica: Replica, pod: Pod, seen: Observation) -> Fate | None:
    """Return that nobody reaches it. Where Kubernetes says itself that it is not ready, its reason counts."""
    if pod.metadata.uid not in seen.unreachable or not replica.ready:
        return None
    words = "neither the operator nor a gateway reaches it, though its node does not say that anything is wrong"
    return Fate(stage=Stage.LOST, words=words, machine_goes=False, since=seen.unreachable[pod.metadata.uid])
