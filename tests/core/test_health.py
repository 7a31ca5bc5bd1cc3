"""What is wrong with a pod, in words."""

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from gptoss_operator.api.status import Reason
from gptoss_operator.core.fleet import replicas_of
from gptoss_operator.core.health import PodState, judge
from gptoss_operator.core.objects import (
    ContainerState,
    ContainerStateTerminated,
    ContainerStatus,
    Node,
    NodeCondition,
    NodeStatus,
    ObjectMeta,
    Pod,
    PodCondition,
    PodSpec,
)
from gptoss_runtime.contract import ExitCode
from tests.core.builders import NOW, a_pod, a_replica_set, a_waiting_container, an_ended_container, seen


NO_NODES: dict[str, Node] = {}


def unscheduled(message: str, age: timedelta = timedelta(0)) -> Pod:
    condition = PodCondition(type="PodScheduled", status="False", reason="Unschedulable", message=message)
    return a_pod(0, age=age, conditions=(condition,))


@pytest.mark.parametrize(
    ("container", "reason", "words"),
    [
        (a_waiting_container("ErrImageNeverPull", "image x:1 is not present"), Reason.IMAGE_PULL_FAILED, "x:1"),
        (a_waiting_container("ImagePullBackOff"), Reason.IMAGE_PULL_FAILED, "correct the image"),
        (
            a_waiting_container("CreateContainerConfigError", 'secret "hub" not found'),
            Reason.CONTAINER_CONFIG_ERROR,
            'secret "hub" not found',
        ),
        (
            an_ended_container(ExitCode.BAD_ORDERS, "no config.json in /models/x"),
            Reason.SERVER_REFUSED_ORDERS,
            "/models/x",
        ),
        (an_ended_container(ExitCode.START_FAILED, "ValueError: bad"), Reason.SERVER_START_FAILED, "ValueError: bad"),
        (an_ended_container(ExitCode.ENGINE_DIED), Reason.ENGINE_DIED, "engine died"),
        (an_ended_container(137, reason="OOMKilled"), Reason.OUT_OF_MEMORY, "spec.pod.resources.memory"),
        (an_ended_container(137), Reason.CRASH_LOOP, "SIGKILL"),
        (an_ended_container(3), Reason.CRASH_LOOP, "exit status 3"),
    ],
)
def test_a_failing_container_is_explained(container: ContainerStatus, reason: Reason, words: str) -> None:
    judgement = judge(a_pod(0, containers=(container,)), NO_NODES, NOW)
    assert (judgement.state, judgement.reason) == (PodState.FAILING, reason)
    assert words in judgement.message


def test_a_pod_that_is_ready_again_after_a_crash_is_ready() -> None:
    assert judge(a_pod(0, ready=True, containers=(an_ended_container(71),)), NO_NODES, NOW).state is PodState.READY


def a_gateway(*sidecars: ContainerStatus, haproxy: ContainerStatus | None = None) -> Pod:
    pod = a_pod(0, containers=(haproxy or a_waiting_container("PodInitializing"),))
    return msgspec.structs.replace(
        pod, status=msgspec.structs.replace(pod.status, init_container_statuses=tuple(sidecars))
    )


def named(container: ContainerStatus, name: str, *, ready: bool = False) -> ContainerStatus:
    return msgspec.structs.replace(container, name=name, ready=ready)


@pytest.mark.parametrize(
    ("container", "reason", "message"),
    [
        (a_waiting_container("ErrImagePull"), Reason.IMAGE_PULL_FAILED, "activator: its image cannot be had (ErrImage"),
        (an_ended_container(64, "no tier vip"), Reason.CRASH_LOOP, "activator: no tier vip"),
        (an_ended_container(64), Reason.CRASH_LOOP, "activator: it ended with exit status 64: see the pod's log"),
        (an_ended_container(137, reason="OOMKilled"), Reason.OUT_OF_MEMORY, "activator: it was killed for memory: see"),
    ],
)
def test_a_sidecar_that_fails_is_named(container: ContainerStatus, reason: Reason, message: str) -> None:
    judgement = judge(a_gateway(named(container, "activator")), NO_NODES, NOW)
    assert (judgement.state, judgement.reason) == (PodState.FAILING, reason)
    assert judgement.message.startswith(message)


def test_what_has_done_its_work_before_the_pod_starts_is_no_failure() -> None:
    done = ContainerStatus(
        name="istio-init", state=ContainerState(terminated=ContainerStateTerminated(exit_code=0, reason="Completed"))
    )
    came_back = named(an_ended_container(1), "activator", ready=True)
    assert judge(a_gateway(done, came_back), NO_NODES, NOW).state is PodState.STARTING


def test_waiting_for_a_node_is_a_problem_only_after_a_while() -> None:
    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    soon, late = (
        judge(unscheduled(message), NO_NODES, NOW),
        judge(unscheduled(message, timedelta(minutes=6)), NO_NODES, NOW),
    )
    assert (soon.state, soon.reason) == (PodState.PENDING, Reason.INSUFFICIENT_GPU)
    assert (late.state, late.reason) == (PodState.FAILING, Reason.INSUFFICIENT_GPU)
    assert "tensorParallel" in soon.message


def test_a_missing_claim_is_a_problem_at_once() -> None:
    judgement = judge(unscheduled('persistentvolumeclaim "weights" not found'), NO_NODES, NOW)
    assert (judgement.state, judgement.reason) == (PodState.FAILING, Reason.VOLUME_NOT_FOUND)
    assert "spec.model.source" in judgement.message


def test_a_pod_that_the_cluster_does_not_create_is_a_problem_after_ten_seconds() -> None:
    observation = seen([a_replica_set(0, "r")])
    (young,) = replicas_of(replace(observation, podless_since={"chat-r0": NOW - timedelta(seconds=9)}), NOW)
    (old,) = replicas_of(replace(observation, podless_since={"chat-r0": NOW - timedelta(seconds=11)}), NOW)
    assert young.judgement.state is PodState.STARTING
    assert (old.judgement.state, old.judgement.reason) == (PodState.FAILING, Reason.POD_NOT_CREATED)
    assert "kubectl describe statefulset chat-r0" in old.judgement.message


def test_messages_are_one_line_and_bounded() -> None:
    judgement = judge(a_pod(0, containers=(an_ended_container(70, "line\n" * 1000),)), NO_NODES, NOW)
    assert "\n" not in judgement.message
    assert len(judgement.message) <= 500


def a_node(name: str, ready: str) -> Node:
    meta = ObjectMeta(name=name, uid=name, resource_version="1")
    return Node(metadata=meta, status=NodeStatus(conditions=(NodeCondition(type="Ready", status=ready),)))


def test_a_pod_on_a_lost_node_says_so() -> None:
    pod = msgspec.structs.replace(a_pod(0), spec=PodSpec(node_name="n1"))
    gone, silent = judge(pod, {"n2": a_node("n2", "True")}, NOW), judge(pod, {"n1": a_node("n1", "Unknown")}, NOW)
    assert (gone.reason, silent.reason) == (Reason.NODE_LOST, Reason.NODE_LOST)
    assert "n1 is gone" in gone.message
    assert "n1 is not ready" in silent.message
    assert judge(pod, {"n1": a_node("n1", "True")}, NOW).state is PodState.STARTING
    assert judge(pod, {}, NOW).state is PodState.STARTING, "nodes that may not be read are no evidence"
