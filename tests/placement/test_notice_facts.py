"""What announces the end of nodes and pods."""

from datetime import UTC, datetime

import pytest

from gptoss_operator.api.placement import SpotSpec
from gptoss_operator.core.objects import (
    Node,
    NodeCondition,
    NodeSpec,
    NodeStatus,
    ObjectMeta,
    Pod,
    PodCondition,
    PodStatus,
    Taint,
)
from gptoss_operator.core.placement.notice_facts import node_notice, pod_notice
from gptoss_runtime.contract import Notice, NoticeKind


META = ObjectMeta(name="node", uid="node-uid", resource_version="1")


def tainted(*keys: str) -> Node:
    return Node(metadata=META, spec=NodeSpec(taints=tuple(Taint(key=key, effect="NoSchedule") for key in keys)))


def holding(kind: str, reason: str = "", status: str = "True") -> Node:
    condition = NodeCondition(type=kind, status=status, reason=reason)
    return Node(metadata=META, status=NodeStatus(conditions=(condition,)))


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("ToBeDeletedByClusterAutoscaler", NoticeKind.TERMINATION),
        ("DeletionCandidateOfClusterAutoscaler", NoticeKind.REBALANCE),
        ("karpenter.sh/disrupted", NoticeKind.TERMINATION),
        ("karpenter.sh/disruption", NoticeKind.TERMINATION),
        ("aws-node-termination-handler/spot-itn", NoticeKind.TERMINATION),
        ("aws-node-termination-handler/asg-lifecycle-termination", NoticeKind.TERMINATION),
        ("aws-node-termination-handler/scheduled-maintenance", NoticeKind.MAINTENANCE),
        ("aws-node-termination-handler/rebalance-recommendation", NoticeKind.REBALANCE),
        ("cloud.google.com/impending-node-termination", NoticeKind.TERMINATION),
        ("remediator.kubernetes.azure.com/unschedulable", NoticeKind.TERMINATION),
        ("node.kubernetes.io/out-of-service", NoticeKind.TERMINATION),
        ("node.cloudprovider.kubernetes.io/shutdown", NoticeKind.TERMINATION),
    ],
)
def test_taints_announce_what_happens(key: str, kind: NoticeKind) -> None:
    notice = node_notice(tainted(key), SpotSpec())
    assert notice is not None
    assert notice.kind is kind
    assert notice.source.endswith(f": node taint {key}")


@pytest.mark.parametrize(
    ("condition", "reason", "kind"),
    [
        ("VMEventScheduled", "PreemptScheduled", NoticeKind.TERMINATION),
        ("VMEventScheduled", "TerminateScheduled", NoticeKind.TERMINATION),
        ("VMEventScheduled", "RedeployScheduled", NoticeKind.MAINTENANCE),
        ("VMEventScheduled", "VMEventScheduled", NoticeKind.REBALANCE),
        ("PreemptScheduled", "", NoticeKind.TERMINATION),
        ("RebootScheduled", "", NoticeKind.MAINTENANCE),
        ("VMEventScheduled", "FreezeScheduled", None),
        ("FreezeScheduled", "", None),
        ("MemoryPressure", "", None),
    ],
)
def test_conditions_announce_what_happens(condition: str, reason: str, kind: NoticeKind | None) -> None:
    notice = node_notice(holding(condition, reason), SpotSpec())
    assert (notice.kind if notice else None) is kind
    assert node_notice(holding(condition, reason, status="False"), SpotSpec()) is None


def test_taints_of_a_node_that_is_not_ready_or_cordoned_announce_nothing() -> None:
    node = tainted("node.kubernetes.io/not-ready", "node.kubernetes.io/unschedulable", "nvidia.com/gpu")
    assert node_notice(node, SpotSpec()) is None
    assert node_notice(None, SpotSpec()) is None


def test_the_gravest_notice_counts() -> None:
    node = tainted("aws-node-termination-handler/rebalance-recommendation", "karpenter.sh/disrupted")
    assert node_notice(node, SpotSpec()) == Notice(
        kind=NoticeKind.TERMINATION, source="Karpenter: node taint karpenter.sh/disrupted"
    )


def test_a_node_that_is_being_deleted_ends() -> None:
    meta = ObjectMeta(name="node", uid="u", resource_version="1", deletion_timestamp=datetime(2026, 11, 23, tzinfo=UTC))
    notice = node_notice(Node(metadata=meta), SpotSpec())
    assert notice == Notice(kind=NoticeKind.TERMINATION, source="the node is being deleted")


def test_users_name_further_taints_and_conditions() -> None:
    spec = SpotSpec(notice_taints=("example.com/going",), notice_conditions=("Going",))
    assert node_notice(tainted("example.com/going"), spec) == Notice(
        kind=NoticeKind.TERMINATION, source="spec.spot: node taint example.com/going"
    )
    assert node_notice(holding("Going", "Soon"), spec) == Notice(
        kind=NoticeKind.TERMINATION, source="spec.spot: node condition Going Soon"
    )


def test_a_pod_that_is_about_to_be_deleted_says_so() -> None:
    def pod(status: str) -> Pod:
        condition = PodCondition(type="DisruptionTarget", status=status, reason="EvictionByEvictionAPI")
        return Pod(metadata=META, status=PodStatus(conditions=(condition,)))

    assert pod_notice(pod("True")) == Notice(
        kind=NoticeKind.TERMINATION, source="pod condition DisruptionTarget EvictionByEvictionAPI"
    )
    assert pod_notice(pod("False")) is None
    assert pod_notice(None) is None
