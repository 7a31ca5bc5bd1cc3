"""What the tests of weights in a claim share."""

from typing import Any

from gptoss_operator.core.actions import Plan
from gptoss_operator.core.objects import ContainerState, ContainerStateTerminated, ContainerStatus
from tests.core.builders import a_body
from tests.core.cluster import Cluster


MADE = {"persistentVolumeClaim": {"size": "20Gi"}}
GIVEN = {"persistentVolumeClaim": {"claimName": "weights"}}
OTHER_WEIGHTS = {"source": {"huggingFace": {"repository": "me/mine"}}}
DONE = ContainerStatus(name="fetch", state=ContainerState(terminated=ContainerStateTerminated(exit_code=0)))
UNAUTHORISED = ContainerStatus(
    name="fetch",
    state=ContainerState(
        terminated=ContainerStateTerminated(
            exit_code=1, message="401: see spec.model.source.huggingFace.tokenSecretRef"
        )
    ),
)


def conditions(cluster: Cluster) -> dict[str, tuple[str, str, str]]:
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in cluster.body["status"]["conditions"]}


def states(cluster: Cluster) -> dict[str, tuple[str, str]]:
    return {type_: (status, reason) for type_, (status, reason, _) in conditions(cluster).items()}


def applied(plan: Plan) -> list[str]:
    return [
        apply.key.name for apply in plan.applies if apply.key.kind in ("PersistentVolumeClaim", "Job", "StatefulSet")
    ]


def settled(cluster: Cluster) -> bool:
    return not (plan := cluster.pass_once()).applies and not plan.deletes and plan.status is None


def started(cache: dict[str, Any], **spec: Any) -> Cluster:  # noqa: ANN401 - a raw spec
    """Return a cluster whose replicas have started from a cache that was filled."""
    cluster = Cluster(a_body(replicas=2, cache=cache, **spec))
    cluster.run()
    return cluster
