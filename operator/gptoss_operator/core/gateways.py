"""The gateway pods as a whole: how many are ready, and whether some still answer as an earlier configuration says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gptoss_operator.api.names import ANNOTATION_CONFIG
from gptoss_operator.core.health import Judgement, PodState, judge
from gptoss_operator.core.objects import Node, Pod
from gptoss_operator.core.observation import Manifest
from gptoss_operator.core.render.haproxy.files import ENDPOINT_GRACE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayView:
    """The gateway pods as a whole."""

    desired: int
    ready: int
    earlier: int
    """Pods of an earlier configuration that new requests may still reach."""
    next_closes_in_seconds: float | None
    """When the first of them that leaves takes no new requests any more. None: none of them leaves."""
    trouble: Judgement | None
    """What is wrong with the first one that fails."""


def gateway_view(deployment: Manifest, pods: Sequence[Pod], nodes: Mapping[str, Node], now: datetime) -> GatewayView:
    """Return what is seen of the pods of the gateway that `deployment`, as it is wanted now, asks for."""
    wanted = deployment["spec"]["template"]["metadata"]["annotations"][ANNOTATION_CONFIG]
    judged = [judge(pod, nodes, now) for pod in pods]
    failing = [judgement for judgement in judged if judgement.state is PodState.FAILING]
    others = [pod for pod in pods if pod.metadata.annotations.config != wanted]
    stay = sum(pod.metadata.deletion_timestamp is None for pod in others)
    open_for = [seconds for pod in others if (seconds := _open_for_seconds(pod, now)) > 0]
    return GatewayView(
        desired=deployment["spec"]["replicas"],
        ready=sum(judgement.state is PodState.READY for judgement in judged),
        earlier=stay + len(open_for),
        next_closes_in_seconds=min(open_for, default=None),
        trouble=failing[0] if failing else None,
    )


def _open_for_seconds(pod: Pod, now: datetime) -> float:
    """Return for how long a pod that leaves still accepts connections, of nodes that do not know it yet."""
    ends = pod.metadata.deletion_timestamp
    if ends is None:
        return 0.0
    # The API server sets the time at which the pod has to be gone, not the time of the deletion.
    deleted = ends - timedelta(seconds=pod.metadata.deletion_grace_period_seconds)
    return max(0.0, ENDPOINT_GRACE_SECONDS - (now - deleted).total_seconds())
