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
    ContainerStateRunning,
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
from gptoss_runtime.contract import Check, CheckResult, ExitCode, Notice, NoticeKind, Phase, ReplicaState
from tests.core.builders import (
    NOW,
    a_pod,
    a_replica_set,
    a_state,
    a_waiting_container,
    an_ended_container,
    seen,
)


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
    pod = msgspec.structs.replace(a_pod(0, age=timedelta(minutes=1)), spec=PodSpec(node_name="n1"))
    gone, silent = judge(pod, {"n2": a_node("n2", "True")}, NOW), judge(pod, {"n1": a_node("n1", "Unknown")}, NOW)
    assert (gone.reason, silent.reason) == (Reason.NODE_LOST, Reason.NODE_LOST)
    assert "n1 is gone" in gone.message
    assert "n1 is not ready" in silent.message
    assert judge(pod, {"n1": a_node("n1", "True")}, NOW).state is PodState.STARTING
    assert judge(pod, {}, NOW).state is PodState.STARTING, "nodes that may not be read are no evidence"


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        (Phase.STARTING, "vLLM is starting"),
        (Phase.FETCHING, "the weights are being fetched"),
        (Phase.LOADING, "vLLM is loading the model"),
        (Phase.COMPILING, "vLLM is making its kernels and graphs"),
        (Phase.WARMING, "its first answers are wrong"),
    ],
)
def test_a_start_is_told_in_the_replicas_words(phase: Phase, message: str) -> None:
    judgement = judge(a_pod(0), NO_NODES, NOW, a_state(phase, reason=message))
    assert (judgement.state, judgement.message) == (PodState.STARTING, message)


@pytest.mark.parametrize("phase", [Phase.READY, Phase.STOPPED])
def test_between_two_words_of_kubernetes_a_pod_just_starts(phase: Phase) -> None:
    assert judge(a_pod(0), NO_NODES, NOW, a_state(phase)) == judge(a_pod(0), NO_NODES, NOW)


STALLED = "its engine makes no progress (no step for more than 30 s while it has requests)"


def test_a_replica_that_is_not_ready_says_why_itself() -> None:
    state = a_state(Phase.NOT_READY, reason=STALLED)
    judgement = judge(a_pod(0, containers=(running_again_after(71),)), NO_NODES, NOW, state)
    assert (judgement.state, judgement.reason, judgement.message) == (
        PodState.FAILING,
        Reason.UNHEALTHY_REPLICA,
        STALLED,
    ), "that it crashed some time ago is not why"


def running_again_after(exit_code: int) -> ContainerStatus:
    ended = an_ended_container(exit_code)
    return msgspec.structs.replace(ended, state=ContainerState(running=ContainerStateRunning()))


def test_while_a_crashed_replica_starts_again_its_end_is_what_is_told() -> None:
    pod = a_pod(0, containers=(running_again_after(ExitCode.ENGINE_DIED),))
    assert judge(pod, NO_NODES, NOW, a_state(Phase.LOADING)).reason is Reason.ENGINE_DIED


@pytest.mark.parametrize("phase", [Phase.NOT_READY, Phase.DRAINING, Phase.LOADING])
def test_the_words_of_a_server_that_has_ended_are_not_of_the_next_one(phase: Phase) -> None:
    pod = a_pod(0, containers=(an_ended_container(ExitCode.ENGINE_DIED),))
    state = a_state(phase, notice=TAKEN)
    assert judge(pod, NO_NODES, NOW, state) == judge(pod, NO_NODES, NOW)


def test_kubernetes_decides_whether_a_replica_is_ready() -> None:
    judgement = judge(a_pod(0, ready=True), NO_NODES, NOW, a_state(Phase.NOT_READY, reason=STALLED))
    assert judgement.state is PodState.READY, "one of the two is a moment older, and it is not known which"


TAKEN = Notice(kind=NoticeKind.TERMINATION, source="AWS spot/instance-action", deadline=1800000000.0)


@pytest.mark.parametrize("ready", [True, False])
def test_a_replica_that_drains_for_a_notice_is_not_ready(*, ready: bool) -> None:
    judgement = judge(a_pod(0, ready=ready), NO_NODES, NOW, a_state(Phase.DRAINING, notice=TAKEN))
    assert (judgement.state, judgement.reason) == (PodState.DRAINING, Reason.INTERRUPTION_NOTICE)
    assert judgement.notice == TAKEN
    assert judgement.message == (
        "its machine will be taken away at 2027-01-15T08:00:00Z (AWS spot/instance-action): it finishes its requests"
    )


def test_a_replica_with_a_notice_is_ready_until_it_drains() -> None:
    judgement = judge(a_pod(0, ready=True), NO_NODES, NOW, a_state(notice=TAKEN))
    assert (judgement.state, judgement.notice) == (PodState.READY, TAKEN)


def test_a_replica_that_was_asked_to_stop_by_itself_says_so() -> None:
    state = a_state(Phase.DRAINING, reason="asked to stop; requests are finishing")
    judgement = judge(a_pod(0), NO_NODES, NOW, state)
    assert (judgement.state, judgement.reason) == (PodState.DRAINING, Reason.REPLICA_DRAINING)
    assert judgement.message == "asked to stop; requests are finishing"


def test_failed_checks_of_a_replica_that_answers_are_a_concern() -> None:
    checks: dict[str, CheckResult] = {
        Check.PARAMETERS_ACCESSIBLE: CheckResult(ok=False, detail="the probe's answer has changed"),
        Check.MODEL_LOADED: CheckResult(ok=True, detail="all names are served"),
        Check.INFERENCE_WORKING: CheckResult(ok=None, detail="not known yet"),
        Check.MEMORY_AVAILABLE: CheckResult(ok=False, detail="line\n" * 1000),
    }
    judgement = judge(a_pod(0, ready=True), NO_NODES, NOW, a_state(checks=checks))
    assert judgement.state is PodState.READY
    assert judgement.concern.startswith("memory_available: line line")
    assert len(judgement.concern) <= 500

    del checks[Check.MEMORY_AVAILABLE]
    judgement = judge(a_pod(0, ready=True), NO_NODES, NOW, a_state(checks=checks))
    assert judgement.concern == "parameters_accessible: the probe's answer has changed"


def test_replicas_are_judged_by_their_own_words() -> None:
    pods = [a_pod(slot) for slot in (0, 1)]
    observation = seen([a_replica_set(slot, "") for slot in (0, 1)], pods)
    states: dict[str, ReplicaState] = {pods[1].metadata.uid: a_state(Phase.COMPILING, reason="compiling")}
    found = replicas_of(replace(observation, replica_states=states), NOW)
    assert [r.judgement.message for r in found] == ["starting", "compiling"]


def test_a_pod_that_was_just_placed_may_be_seen_before_its_node() -> None:
    pod = msgspec.structs.replace(a_pod(0), spec=PodSpec(node_name="n1"))
    assert judge(pod, {"n2": a_node("n2", "True")}, NOW).state is PodState.STARTING
    later = judge(pod, {"n2": a_node("n2", "True")}, NOW + timedelta(minutes=1))
    assert later.reason is Reason.NODE_LOST
