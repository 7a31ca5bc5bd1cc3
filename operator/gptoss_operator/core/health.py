"""What is wrong with a pod, in words that a user can act on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from gptoss_operator.api.names import REPLICA_CONTAINER
from gptoss_operator.api.status import Reason
from gptoss_operator.core.notices import shown, words_of
from gptoss_operator.core.objects import ContainerStatus, Node, NodeCondition, Pod
from gptoss_runtime.contract import START_PHASES, ExitCode, Notice, Phase, ReplicaState


class PodState(StrEnum):
    """How far a pod is."""

    READY = "ready"
    STARTING = "starting"
    """Created, scheduled or running, with nothing wrong so far."""
    PENDING = "pending"
    """Waits for a node."""
    FAILING = "failing"
    """It will not become ready unless something changes."""
    DRAINING = "draining"
    """It stays for now, and takes no new requests."""
    LEAVING = "leaving"
    """Deleted; it finishes its requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is thought of one pod."""

    state: PodState
    reason: Reason
    message: str
    concern: str = ""
    """What its deep health report finds wrong although it answers requests. Empty: nothing."""
    notice: Notice | None = None
    """What the cloud has announced to it."""


PENDING_TOO_LONG = timedelta(minutes=5)
"""How long a node autoscaler may take before a pod without a node counts as a problem."""
NODE_SHOWS_WITHIN = timedelta(seconds=15)
"""Pods and nodes are watched apart, so a pod may be seen on its node before the node is. Not for longer than this."""
KILLED = 128 + 9
"""Exit status of a container that SIGKILL (9) ended."""
EXITS: dict[int, tuple[Reason, str]] = {
    KILLED: (Reason.CRASH_LOOP, "it was killed (SIGKILL), by hand or for the node's memory"),
}
"""What exit statuses of any container mean, and what to say when it left no words."""
SERVER_EXITS: dict[int, tuple[Reason, str]] = EXITS | {
    ExitCode.BAD_ORDERS: (Reason.SERVER_REFUSED_ORDERS, "the server refused its orders"),
    ExitCode.START_FAILED: (Reason.SERVER_START_FAILED, "vLLM ended before it was ready: see the pod's log"),
    ExitCode.ENGINE_DIED: (Reason.ENGINE_DIED, "vLLM's engine died and is started again: see the pod's log"),
}
"""The same of the model server's container."""
MESSAGE_LENGTH = 500

IMAGE_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
)
CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


def judge(pod: Pod, nodes: Mapping[str, Node], now: datetime, state: ReplicaState | None = None) -> Judgement:
    """Return what is thought of `pod`. The first of the checks that finds something decides.

    `nodes` are all nodes by name; empty where they may not be read. `state` is what the replica in it said of itself a
    moment ago; None is evidence of nothing.
    """
    if pod.metadata.deletion_timestamp:
        return Judgement(state=PodState.LEAVING, reason=Reason.REPLICAS_REMOVED, message="finishes its requests")
    state = state if _server_runs(pod) else None
    notice = state.notice if state else None
    if holds(pod, "Ready"):
        found = _draining_for(state) or Judgement(
            state=PodState.READY, reason=Reason.AS_EXPECTED, message="ready", concern=_concern(state)
        )
    else:
        found = (
            _unscheduled(pod, now)
            or _on_lost_node(pod, nodes, now)
            or _waiting(pod)
            or _said_not_ready(state)
            or _ended(pod)
            or _starting(state)
        )
    return replace(found, notice=notice)


def _unscheduled(pod: Pod, now: datetime) -> Judgement | None:
    """Return why no node takes it. Waiting for a node autoscaler is normal; a missing volume is not."""
    condition = next((c for c in pod.status.conditions if c.type == "PodScheduled" and c.status == "False"), None)
    if condition is None:
        return None
    text = _short(condition.message or condition.reason or "the scheduler has not looked at it yet")
    if "persistentvolumeclaim" in text.lower():
        return _failing(
            Reason.VOLUME_NOT_FOUND, f"{text}: create or bind the claim that spec.model.source or spec.cache names"
        )
    if "Insufficient" in text and "gpu" in text.lower():
        reason, remedy = Reason.INSUFFICIENT_GPU, "add GPU nodes, or lower tensorParallel or the number of replicas"
    else:
        reason, remedy = Reason.UNSCHEDULABLE, "see spec.gpu.nodeSelector, spec.gpu.tolerations and spec.pod.resources"
    created = pod.metadata.creation_timestamp
    overdue = created is not None and now - created > PENDING_TOO_LONG
    return Judgement(
        state=PodState.FAILING if overdue else PodState.PENDING,
        reason=reason,
        message=f"no node takes it ({text}): {remedy}",
    )


def is_node_gone(pod: Pod, nodes: Mapping[str, Node], now: datetime) -> bool:
    """Return whether the pod's node does not exist any more. Nodes that may not be read, or are new, are not gone."""
    name = pod.spec.node_name
    if not name or not nodes or name in nodes:
        return False
    since = condition_since(pod, "PodScheduled") or pod.metadata.creation_timestamp
    return since is not None and now - since >= NODE_SHOWS_WITHIN


def holds(seen: Pod | Node, wanted: str) -> bool:
    """Return whether a condition of a pod or a node is True."""
    return any(c.type == wanted and c.status == "True" for c in seen.status.conditions)


def condition_since(pod: Pod, wanted: str) -> datetime | None:
    """Return since when a condition of the pod holds. None: it does not, or nobody says since when."""
    found = (c.last_transition_time for c in pod.status.conditions if c.type == wanted and c.status == "True")
    return next(found, None)


def not_ready(node: Node | None) -> NodeCondition | None:
    """Return the condition that says that the kubelet of a node does not answer. None: it does, or says nothing yet."""
    conditions = node.status.conditions if node else ()
    return next((c for c in conditions if c.type == "Ready" and c.status != "True"), None)


def _on_lost_node(pod: Pod, nodes: Mapping[str, Node], now: datetime) -> Judgement | None:
    """Return that its node is gone or silent, in which case nothing else that is known of the pod is new."""
    name = pod.spec.node_name
    node = nodes.get(name)
    if node and holds(node, "Ready"):
        return None
    if node is None and not is_node_gone(pod, nodes, now):
        return None
    state = "not ready" if node else "gone"
    return _failing(Reason.NODE_LOST, f"its node {name} is {state}: another replica takes its place")


def _waiting(pod: Pod) -> Judgement | None:
    """Return why the kubelet cannot create a container."""
    for container, whose in _containers(pod):
        waiting = container.state.waiting
        if waiting is None:
            continue
        if waiting.reason in IMAGE_REASONS:
            text = _short(waiting.message or waiting.reason)
            return _failing(
                Reason.IMAGE_PULL_FAILED,
                f"{whose}its image cannot be had ({text}): correct the image, or its pull secret",
            )
        if waiting.reason in CONFIG_REASONS:
            text = _short(waiting.message or waiting.reason)
            return _failing(
                Reason.CONTAINER_CONFIG_ERROR,
                f"{whose}its container cannot be created ({text}): create what it refers to",
            )
    return None


def _ended(pod: Pod) -> Judgement | None:
    """Return why a container ended, if it is not ready again since."""
    if pod.status.phase == "Failed" and not pod.status.container_statuses:
        return _failing(Reason.CRASH_LOOP, _short(pod.status.message or pod.status.reason or "the pod failed"))
    for container, whose in _containers(pod):
        if found := _container_ended(container, whose):
            return found
    return None


def _container_ended(container: ContainerStatus, whose: str) -> Judgement | None:
    """Return why a container ended: in its own last words, if it left any."""
    ended = container.state.terminated or container.last_state.terminated
    if ended is None or container.ready:
        return None
    if ended.reason == "OOMKilled":
        remedy = "raise spec.pod.resources.memory" if container.name == REPLICA_CONTAINER else "see the pod's log"
        return _failing(Reason.OUT_OF_MEMORY, f"{whose}it was killed for memory: {remedy}")
    unknown = (Reason.CRASH_LOOP, f"it ended with exit status {ended.exit_code}: see the pod's log")
    known = SERVER_EXITS if container.name == REPLICA_CONTAINER else EXITS
    reason, words = known.get(ended.exit_code, unknown)
    return _failing(reason, whose + (_short(ended.message) or words))


def _server_runs(pod: Pod) -> bool:
    """Return whether what a replica said is not about a server that has ended since."""
    servers = (container.state for container in pod.status.container_statuses if container.name == REPLICA_CONTAINER)
    return not any(server.waiting or server.terminated for server in servers)


def _draining_for(state: ReplicaState | None) -> Judgement | None:
    """Return that a replica takes no new requests because of a notice. Kubernetes learns of it a moment later."""
    if state is None or state.phase is not Phase.DRAINING or state.notice is None:
        return None
    (notice,) = shown([("", state.notice)])
    return Judgement(state=PodState.DRAINING, reason=Reason.INTERRUPTION_NOTICE, message=words_of(notice))


def _said_not_ready(state: ReplicaState | None) -> Judgement | None:
    """Return why a replica that was ready is not, in its own words. An earlier end of it explains nothing then."""
    if found := _draining_for(state):
        return found
    if state and state.phase is Phase.DRAINING:
        reason, message = Reason.REPLICA_DRAINING, _short(state.verdict.reason)
        return Judgement(state=PodState.DRAINING, reason=reason, message=message)
    if state and state.phase is Phase.WAITING:
        return Judgement(state=PodState.STARTING, reason=Reason.REPLICAS_STARTING, message=_short(state.verdict.reason))
    if state and state.phase is Phase.NOT_READY:
        return _failing(Reason.UNHEALTHY_REPLICA, _short(state.verdict.reason))
    return None


def _starting(state: ReplicaState | None) -> Judgement:
    """Return how far a start is: in the replica's own words, which hold no numbers that grow."""
    message = _short(state.verdict.reason) if state and state.phase in START_PHASES else "starting"
    return Judgement(state=PodState.STARTING, reason=Reason.REPLICAS_STARTING, message=message)


def _concern(state: ReplicaState | None) -> str:
    """Return which checks of the deep health report fail, and why."""
    checks = state.checks if state else {}
    return _short("; ".join(f"{name}: {check.detail}" for name, check in sorted(checks.items()) if check.ok is False))


def _containers(pod: Pod) -> Iterator[tuple[ContainerStatus, str]]:
    """Yield what may keep the pod from being ready, and whose it is: sidecars, which start first, then the others."""
    for container in pod.status.init_container_statuses:
        # One that has done its work and is not ready again is no failure: it is no sidecar.
        if container.state.terminated is None or container.state.terminated.exit_code:
            yield container, f"{container.name}: "
    for container in pod.status.container_statuses:
        yield container, ""


def _failing(reason: Reason, message: str) -> Judgement:
    return Judgement(state=PodState.FAILING, reason=reason, message=message)


def _short(text: str) -> str:
    """Return `text` on one line and not too long for a condition."""
    line = " ".join(text.split())
    return line if len(line) <= MESSAGE_LENGTH else f"{line[: MESSAGE_LENGTH - 1]}…"
