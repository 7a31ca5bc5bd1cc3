"""What announces the end of a node or of a pod in Kubernetes: a table, which users can extend."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gptoss_operator.api.placement import SpotSpec
from gptoss_operator.core.objects import Node, Pod
from gptoss_runtime.contract import Notice, NoticeKind


END: Final = NoticeKind.TERMINATION
MAINTENANCE: Final = NoticeKind.MAINTENANCE
HINT: Final = NoticeKind.REBALANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeFact:
    """A key of taints, or a type of node conditions, that announces an end."""

    name: str
    kind: NoticeKind
    by: str
    """Who sets it."""
    says: str = ""
    """Only where a condition's reason has this word. Empty: whatever it is."""


TAINTS: Final = (
    # kubernetes.io/docs/concepts/cluster-administration/node-autoscaling; cluster-autoscaler/FAQ.md: the node is being
    # drained. The candidate is not needed and goes in about ten minutes, unless something is scheduled there.
    NoticeFact(name="ToBeDeletedByClusterAutoscaler", kind=END, by="cluster autoscaler"),
    NoticeFact(name="DeletionCandidateOfClusterAutoscaler", kind=HINT, by="cluster autoscaler"),
    # karpenter.sh/docs/concepts/disruption: for spot interruptions, drift, consolidation and expiry alike; the node
    # goes in any case. Until v1beta1 it was `karpenter.sh/disruption=disrupting`.
    NoticeFact(name="karpenter.sh/disrupted", kind=END, by="Karpenter"),
    NoticeFact(name="karpenter.sh/disruption", kind=END, by="Karpenter"),
    # github.com/aws/aws-node-termination-handler, README and Helm chart, taintNode.
    NoticeFact(name="aws-node-termination-handler/spot-itn", kind=END, by="AWS Node Termination Handler"),
    NoticeFact(
        name="aws-node-termination-handler/asg-lifecycle-termination", kind=END, by="AWS Node Termination Handler"
    ),
    NoticeFact(
        name="aws-node-termination-handler/scheduled-maintenance", kind=MAINTENANCE, by="AWS Node Termination Handler"
    ),
    NoticeFact(
        name="aws-node-termination-handler/rebalance-recommendation", kind=HINT, by="AWS Node Termination Handler"
    ),
    # GKE's maintenance handler on GPU nodes, and github.com/GoogleCloudPlatform/k8s-node-termination-handler.
    NoticeFact(name="cloud.google.com/impending-node-termination", kind=END, by="GKE"),
    # learn.microsoft.com/azure/aks/node-auto-drain and node-auto-repair: cordon and drain.
    NoticeFact(name="remediator.kubernetes.azure.com/unschedulable", kind=END, by="AKS"),
    # cloud-provider-azure: kept while a spot machine is being evicted.
    NoticeFact(name="cloudprovider.azure.microsoft.com/draining", kind=END, by="Azure"),
    # kubernetes.io/docs/reference/labels-annotations-taints.
    NoticeFact(name="node.kubernetes.io/out-of-service", kind=END, by="an administrator"),
    NoticeFact(name="node.cloudprovider.kubernetes.io/shutdown", kind=END, by="cloud provider"),
)
"""By key; their effect and value do not matter."""

CONDITIONS: Final = (
    # learn.microsoft.com/azure/aks/node-problem-detector. In some versions there is a condition of each kind, in others
    # the reason of VMEventScheduled says which. A freeze takes seconds and nothing is lost by it: no notice.
    *(
        NoticeFact(name=name, kind=kind, by="AKS node problem detector", says=says)
        for event, kind in (("Preempt", END), ("Terminate", END), ("Redeploy", MAINTENANCE), ("Reboot", MAINTENANCE))
        for name, says in ((f"{event}Scheduled", ""), ("VMEventScheduled", event))
    ),
    # Where the reason is the type's name, only the message tells a freeze from an end: AKS itself then taints the node.
    NoticeFact(name="VMEventScheduled", kind=HINT, by="AKS node problem detector", says="VMEventScheduled"),
)
"""By type, while they are True."""

POD_CONDITION: Final = "DisruptionTarget"
"""kubernetes.io/docs/concepts/workloads/pods/disruptions: a pod with it is about to be deleted: preempted, evicted, or
for the end of its node."""

SEVERITY: Final = {END: 0, MAINTENANCE: 1, HINT: 2}


def node_notice(node: Node | None, spec: SpotSpec) -> Notice | None:
    """Return the gravest notice of the node, or None. Among equals the order of the table counts."""
    if node is None:
        return None
    found = sorted(_notices(node, spec), key=lambda notice: SEVERITY[notice.kind])
    return found[0] if found else None


def pod_notice(pod: Pod | None) -> Notice | None:
    """Return what the pod says of its own end, or None."""
    for condition in pod.status.conditions if pod else ():
        if condition.type == POD_CONDITION and condition.status == "True":
            why = f" {condition.reason}" if condition.reason else ""
            return Notice(kind=END, source=f"pod condition {POD_CONDITION}{why}")
    return None


def _notices(node: Node, spec: SpotSpec) -> Iterable[Notice]:
    if node.metadata.deletion_timestamp is not None:
        yield Notice(kind=END, source="the node is being deleted")
    taints = {taint.key for taint in node.spec.taints}
    for fact in (*TAINTS, *(_own(key) for key in spec.notice_taints)):
        if fact.name in taints:
            yield Notice(kind=fact.kind, source=f"{fact.by}: node taint {fact.name}")
    holding = {condition.type: condition for condition in node.status.conditions if condition.status == "True"}
    for fact in (*CONDITIONS, *(_own(name) for name in spec.notice_conditions)):
        condition = holding.get(fact.name)
        if condition is not None and fact.says in condition.reason:
            why = f" {condition.reason}" if condition.reason not in {"", fact.name} else ""
            yield Notice(kind=fact.kind, source=f"{fact.by}: node condition {fact.name}{why}")


def _own(name: str) -> NoticeFact:
    return NoticeFact(name=name, kind=END, by="spec.spot")
