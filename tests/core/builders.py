"""What tests of the core arrange with: short ways to say what a user asks for and what is seen."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import structs

from gptoss_operator.api import names
from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.core.objects import (
    Annotations,
    Child,
    ContainerState,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    ObjectMeta,
    OwnerReference,
    Pod,
    PodCondition,
    PodStatus,
)
from gptoss_operator.core.observation import ChildKey, Observation, ObservedChild, Owner
from gptoss_operator.core.parse import parse_spec
from gptoss_operator.core.render.options import RenderOptions
from gptoss_runtime.contract import CheckResult, Counter, Notice, Phase, ReplicaState, Verdict


NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
OWNER = Owner(name="chat", namespace="demo", uid="owner-uid", generation=1)
OPTIONS = RenderOptions(server_image="server:1", gateway_image="gateway:1", activator_image="activator:1")


def a_body(**spec: Any) -> dict[str, Any]:  # noqa: ANN401 - a raw object of the API
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": OWNER.name, "namespace": OWNER.namespace, "uid": OWNER.uid, "generation": 1},
        "spec": {"model": {"name": "gpt-oss-20b"}, **spec},
    }


def a_spec(**spec: Any) -> GptOssSpec:  # noqa: ANN401 - a raw object of the API
    return parse_spec(a_body(**spec))


def a_pod(
    slot: int,
    *,
    revision: str = "",
    ready: bool = False,
    leaving: bool = False,
    age: timedelta = timedelta(0),
    containers: tuple[ContainerStatus, ...] = (),
    conditions: tuple[PodCondition, ...] = (),
) -> Pod:
    name = f"{names.replica(OWNER.name, slot)}-0"
    return Pod(
        metadata=ObjectMeta(
            name=name,
            namespace=OWNER.namespace,
            uid=f"{name}-uid-{revision}",
            resource_version="1",
            creation_timestamp=NOW - age,
            deletion_timestamp=NOW if leaving else None,
            labels={names.LABEL_SLOT: str(slot), names.LABEL_REVISION: revision},
        ),
        status=PodStatus(
            phase="Running",
            conditions=(PodCondition(type="Ready", status="True" if ready else "False"), *conditions),
            container_statuses=containers,
        ),
    )


def a_state(
    phase: Phase = Phase.READY,
    *,
    reason: str = "as the test says",
    checks: dict[str, CheckResult] | None = None,
    notice: Notice | None = None,
    sequence: int = 1,
) -> ReplicaState:
    return ReplicaState(
        start_id="start",
        sequence=sequence,
        phase=phase,
        verdict=Verdict(ready=phase is Phase.READY, live=True, reason=reason),
        uptime_seconds=float(sequence),
        counters={Counter.ENGINE_STEPS: float(sequence)},
        checks=checks or {},
        notice=notice,
    )


def a_gateway_pod(number: int, *, ready: bool = True) -> Pod:
    name = f"chat-gateway-{number}"
    return Pod(
        metadata=ObjectMeta(name=name, uid=name, resource_version="1", creation_timestamp=NOW),
        status=PodStatus(conditions=(PodCondition(type="Ready", status="True" if ready else "False"),)),
    )


def with_annotations(pod: Pod, annotations: Annotations) -> Pod:
    return structs.replace(pod, metadata=structs.replace(pod.metadata, annotations=annotations))


def a_waiting_container(reason: str, message: str = "") -> ContainerStatus:
    return ContainerStatus(
        name="server", state=ContainerState(waiting=ContainerStateWaiting(reason=reason, message=message))
    )


def an_ended_container(exit_code: int, message: str = "", reason: str = "Error") -> ContainerStatus:
    ended = ContainerStateTerminated(exit_code=exit_code, reason=reason, message=message)
    return ContainerStatus(
        name="server",
        restart_count=1,
        state=ContainerState(waiting=ContainerStateWaiting(reason="CrashLoopBackOff")),
        last_state=ContainerState(terminated=ended),
    )


def a_fetching_pod(
    job: str,
    number: int = 0,
    *,
    phase: str = "Running",
    containers: tuple[ContainerStatus, ...] = (),
    conditions: tuple[PodCondition, ...] = (),
) -> Pod:
    """Return the pod of one attempt of a Job; the higher number is the later attempt."""
    name = f"{job}-{number}"
    return Pod(
        metadata=ObjectMeta(
            name=name,
            uid=name,
            resource_version="1",
            creation_timestamp=NOW + timedelta(seconds=number),
            owner_references=(OwnerReference(uid=job, kind="Job", name=job, controller=True),),
        ),
        status=PodStatus(phase=phase, conditions=conditions, container_statuses=containers),
    )


def seen(children: Iterable[ObservedChild] = (), pods: Iterable[Pod] = (), gateways: int = 0) -> Observation:
    return Observation(
        owner=OWNER,
        children={ChildKey(_kind_of(c), c.object.metadata.name): c for c in children},
        replica_pods=tuple(pods),
        gateway_pods=tuple(a_gateway_pod(number) for number in range(gateways)),
    )


def a_replica_set(slot: int, revision: str, *, digest: str | None = None) -> ObservedChild:
    name = names.replica(OWNER.name, slot)
    labels = {names.LABEL_SLOT: str(slot), names.LABEL_REVISION: revision, "kind": "StatefulSet"}
    meta = ObjectMeta(name=name, uid=f"{name}-uid", resource_version="1", labels=labels, creation_timestamp=NOW)
    return ObservedChild(object=Child(metadata=meta), applied_digest=digest)


def _kind_of(child: ObservedChild) -> str:
    return child.object.metadata.labels["kind"]
