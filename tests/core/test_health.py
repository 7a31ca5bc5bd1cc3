"""What is wrong with a pod, in words."""

from datetime import timedelta

import pytest

from gptoss_operator.api.status import Reason
from gptoss_operator.core.fleet import replicas_of
from gptoss_operator.core.health import PodState, judge
from gptoss_operator.core.objects import ContainerStatus, Pod, PodCondition
from gptoss_runtime.contract import ExitCode
from tests.core.builders import NOW, a_pod, a_replica_set, a_waiting_container, an_ended_container, seen


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
        (an_ended_container(3), Reason.CRASH_LOOP, "exit status 3"),
    ],
)
def test_a_failing_container_is_explained(container: ContainerStatus, reason: Reason, words: str) -> None:
    judgement = judge(a_pod(0, containers=(container,)), NOW)
    assert (judgement.state, judgement.reason) == (PodState.FAILING, reason)
    assert words in judgement.message


def test_a_pod_that_is_ready_again_after_a_crash_is_ready() -> None:
    assert judge(a_pod(0, ready=True, containers=(an_ended_container(71),)), NOW).state is PodState.READY


def test_waiting_for_a_node_is_a_problem_only_after_a_while() -> None:
    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    soon, late = judge(unscheduled(message), NOW), judge(unscheduled(message, timedelta(minutes=6)), NOW)
    assert (soon.state, soon.reason) == (PodState.PENDING, Reason.INSUFFICIENT_GPU)
    assert (late.state, late.reason) == (PodState.FAILING, Reason.INSUFFICIENT_GPU)
    assert "tensorParallel" in soon.message


def test_a_missing_claim_is_a_problem_at_once() -> None:
    judgement = judge(unscheduled('persistentvolumeclaim "weights" not found'), NOW)
    assert (judgement.state, judgement.reason) == (PodState.FAILING, Reason.VOLUME_NOT_FOUND)
    assert "spec.model.source" in judgement.message


def test_a_pod_that_the_cluster_does_not_create_is_a_problem_after_ten_seconds() -> None:
    (young,) = replicas_of(seen([a_replica_set(0, "r")]), NOW)
    (old,) = replicas_of(seen([a_replica_set(0, "r", age=timedelta(seconds=11))]), NOW)
    assert young.judgement.state is PodState.STARTING
    assert (old.judgement.state, old.judgement.reason) == (PodState.FAILING, Reason.POD_NOT_CREATED)
    assert "kubectl describe statefulset chat-r0" in old.judgement.message


def test_messages_are_one_line_and_bounded() -> None:
    judgement = judge(a_pod(0, containers=(an_ended_container(70, "line\n" * 1000),)), NOW)
    assert "\n" not in judgement.message
    assert len(judgement.message) <= 500
