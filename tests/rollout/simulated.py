"""What simulated replicas do: how their pods grow, and what they say of themselves."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from gptoss_operator.core.objects import (
    ContainerState,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    Pod,
    PodCondition,
    PodStatus,
)
from gptoss_runtime.contract import Check, CheckResult, Counter, Phase, ReplicaState, Verdict


START = timedelta(seconds=30)
"""How long a replica takes from having a machine until it is up."""
RESOURCE = "nvidia.com/gpu"
REQUESTS_PER_SECOND = 2.0


@dataclass(kw_only=True)
class Behaviour:
    """How the replicas of a revision behave."""

    starts: bool = True
    """Whether they come up."""
    waiting: str = ""
    """Why their container cannot be made, such as ErrImagePull."""
    ends: ContainerStateTerminated | None = None
    """How their server ends, again and again."""
    ends_after: timedelta = START
    """How long after it has its machine."""
    answers: bool | None = True
    """Whether golden prompts are answered well. None: they have not been asked yet."""
    hangs_after: timedelta | None = None
    """How long after it is up the engine stops."""
    failed: float = 0.0
    """Share of the requests that fail."""
    first_token: float = 0.1
    further_token: float = 0.01


@dataclass(kw_only=True)
class Alive:
    """One pod."""

    pod: Pod
    placed_at: datetime | None = None
    leaves_at: datetime | None = None


def an_end(exit_code: int = 1, message: str = "", reason: str = "Error") -> ContainerStateTerminated:
    return ContainerStateTerminated(exit_code=exit_code, reason=reason, message=message)


def age_of(each: Alive, now: datetime) -> timedelta:
    """Return how long it has had its machine."""
    return now - each.placed_at if each.placed_at else timedelta(0)


def is_up(each: Alive, behaviour: Behaviour, now: datetime) -> bool:
    """Return whether it could serve."""
    dead = behaviour.ends is not None and age_of(each, now) >= behaviour.ends_after
    return age_of(each, now) >= START and behaviour.starts and not dead and not behaviour.waiting


def hangs(each: Alive, behaviour: Behaviour, now: datetime) -> bool:
    """Return whether its engine has stopped."""
    after = behaviour.hangs_after
    return after is not None and is_up(each, behaviour, now) and age_of(each, now) >= START + after


def grown(each: Alive, behaviour: Behaviour, now: datetime, *, gated: bool, nodes: int) -> Pod:
    """Return its pod as it is now."""
    pod = each.pod
    if not pod.spec.node_name or each.placed_at is None:
        message = f"0/{nodes} nodes are available: {nodes} Insufficient {RESOURCE}."
        scheduled = PodCondition(type="PodScheduled", status="False", reason="Unschedulable", message=message)
        return msgspec.structs.replace(pod, status=PodStatus(phase="Pending", conditions=(scheduled,)))
    closed = gated and pod.metadata.annotations.traffic == "closed"
    ready = is_up(each, behaviour, now) and not closed and not hangs(each, behaviour, now)
    was = next((c for c in pod.status.conditions if c.type == "Ready"), None)
    status = "True" if ready else "False"
    since = was.last_transition_time if was and was.status == status else now
    conditions = (
        PodCondition(type="PodScheduled", status="True", last_transition_time=each.placed_at),
        PodCondition(type="Ready", status=status, last_transition_time=since),
    )
    container = _container(each, behaviour, now, ready=ready)
    return msgspec.structs.replace(
        pod, status=PodStatus(phase="Running", conditions=conditions, container_statuses=(container,))
    )


def _container(each: Alive, behaviour: Behaviour, now: datetime, *, ready: bool) -> ContainerStatus:
    age = age_of(each, now)
    if behaviour.waiting:
        waiting = ContainerStateWaiting(reason=behaviour.waiting, message="not found")
        return ContainerStatus(name="server", state=ContainerState(waiting=waiting))
    if behaviour.ends and age >= behaviour.ends_after:
        return ContainerStatus(
            name="server",
            restart_count=1 + int((age - behaviour.ends_after) / timedelta(seconds=10)),
            state=ContainerState(waiting=ContainerStateWaiting(reason="CrashLoopBackOff")),
            last_state=ContainerState(terminated=behaviour.ends),
        )
    return ContainerStatus(name="server", ready=ready, started=is_up(each, behaviour, now))


def state_of(each: Alive, behaviour: Behaviour, now: datetime) -> ReplicaState | None:
    """Return what it says of itself. None: nobody answers."""
    up = is_up(each, behaviour, now)
    if each.placed_at is None or behaviour.waiting or (behaviour.ends and not up):
        return None
    traffic = each.pod.metadata.annotations.traffic
    phase, words = Phase.READY, "vLLM is up"
    if not up:
        phase, words = Phase.LOADING, "vLLM is loading the model"
    elif hangs(each, behaviour, now):
        phase, words = Phase.NOT_READY, "its engine makes no progress"
    elif traffic == "closed":
        phase, words = Phase.WAITING, "a rollout lets it in"
    served = 0.0 if traffic == "closed" else (age_of(each, now) - START).total_seconds() * REQUESTS_PER_SECOND
    return ReplicaState(
        start_id="one",
        sequence=int(now.timestamp()),
        phase=phase,
        verdict=Verdict(ready=phase is Phase.READY, live=True, reason=words),
        uptime_seconds=1.0,
        counters=_counters(behaviour, max(0.0, served)),
        checks=_checks(behaviour, up=up),
    )


def _checks(behaviour: Behaviour, *, up: bool) -> dict[str, CheckResult]:
    loaded: dict[str, CheckResult] = {Check.MODEL_LOADED: CheckResult(ok=True, detail="it is there")}
    if not up:
        return loaded
    words = {True: "4 of 4 are right", False: "harmony: no reasoning", None: "not asked yet"}
    return {**loaded, Check.GOLDEN_PROMPTS: CheckResult(ok=behaviour.answers, detail=words[behaviour.answers])}


def _counters(behaviour: Behaviour, answers: float) -> dict[str, float]:
    return {
        Counter.ANSWERS: answers,
        Counter.ANSWERS_FAILED: answers * behaviour.failed,
        Counter.FIRST_TOKENS: answers,
        Counter.FIRST_TOKEN_SECONDS: answers * behaviour.first_token,
        Counter.FURTHER_TOKENS: answers * 100,
        Counter.FURTHER_TOKEN_SECONDS: answers * 100 * behaviour.further_token,
    }
