"""A small cluster with GPUs, a clock and replicas that say how they are: for following rollouts through many passes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import msgspec

from gptoss_operator.api import names
from gptoss_operator.core.actions import Annotate, Apply, Delete, Plan
from gptoss_operator.core.objects import (
    Annotations,
    ContainerState,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    Node,
    NodeCondition,
    NodeStatus,
    ObjectMeta,
    Pod,
    PodCondition,
    PodSpec,
    PodStatus,
)
from gptoss_operator.core.observation import ChildKey, Observation
from gptoss_operator.core.plan import make_plan
from gptoss_runtime.contract import Check, CheckResult, Counter, Phase, ReplicaState, Verdict
from tests.core.builders import OPTIONS, OWNER, Cluster, a_body


TICK = timedelta(seconds=5)
START = timedelta(seconds=30)
"""How long a replica takes from having a machine until it is up."""
DRAIN = timedelta(seconds=10)
QUICK = {"progressDeadlineSeconds": 120, "surgeWaitSeconds": 20, "gates": {"canary": {"holdSeconds": 20}}}
RESOURCE = "nvidia.com/gpu"


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
class _Alive:
    """One pod."""

    pod: Pod
    placed_at: Any = None
    leaves_at: Any = None


class World(Cluster):
    """Nodes with GPUs, a StatefulSet controller, a scheduler, a kubelet and replicas, all in one."""

    def __init__(self, *, nodes: int = 8, grows: bool = False, hears: bool = True, **spec: Any) -> None:  # noqa: ANN401
        spec = {"replicas": 3, "tensorParallel": 1, "rollout": QUICK, **spec}
        super().__init__(a_body(**spec))
        self.hears = hears
        self.grows = grows
        self.nodes = {f"n{number}": a_node(f"n{number}", grows=grows) for number in range(nodes)}
        self.behaviours: dict[str, Behaviour] = {}
        """By the image of the server."""
        self.alive: list[_Alive] = []
        self.plans: list[Plan] = []
        self.bad: list[int] = []
        """How many replicas there were of revisions other than the good ones, at each moment."""
        self.serving: list[int] = []
        """How many replicas were ready and open, at each moment."""
        self.good: set[str] = set()
        self.foreign = 0
        """Nodes whose GPU somebody else's pod has, which the operator does not see."""
        self.options = OPTIONS
        """Of the release that makes the passes."""
        self.forgets = False
        """Whether the process is new in each pass."""

    # --- what is seen -------------------------------------------------------------------------------------------

    def look(self) -> Observation:
        pods = [each.pod for each in self.alive]
        self.pods = {int(p.metadata.labels[names.LABEL_SLOT]): p for p in pods if p.metadata.deletion_timestamp is None}
        used: dict[str, int] = {}
        for pod in pods:
            if pod.spec.node_name:
                used[pod.spec.node_name] = used.get(pod.spec.node_name, 0) + 1
        states = {e.pod.metadata.uid: s for e in self.alive if (s := self._state(e)) is not None} if self.hears else {}
        return replace(
            super().look(), replica_pods=tuple(pods), nodes=dict(self.nodes), gpus_used=used, replica_states=states
        )

    def pass_once(self, stop_after: int | None = None) -> Plan:
        """Make one plan and do its first `stop_after` calls, or all, and the status."""
        plan = make_plan(self.body, self.look(), self.options, self.now, self.memory)
        self.memory = None if self.forgets else plan.memory
        calls: list[Apply | Delete | Annotate] = [*plan.applies, *plan.deletes, *plan.annotates]
        for call in calls[:stop_after]:
            if isinstance(call, Delete):
                del self.children[call.key]
            elif isinstance(call, Annotate):
                self._annotate(call)
            else:
                self._apply(call.manifest)
        if plan.status and (stop_after is None or stop_after > len(calls)):
            self.body["status"] = plan.status.model_dump(by_alias=True, exclude_none=True, mode="json")
        self.plans.append(plan)
        self._settle()
        return plan

    def tick(self, passes: int = 1) -> Plan:
        """Let time pass, with a pass every five seconds."""
        for _ in range(passes):
            self.now += TICK
            self._settle()
            plan = self.pass_once()
        return plan

    def settle(self, passes: int = 600) -> Plan:
        """Make passes until nothing was done for half a minute. Fails when that does not happen."""
        quiet = 0
        for _ in range(passes):
            plan = self.tick()
            busy = plan.applies or plan.deletes or plan.annotates or self.status.get("rollout")
            quiet = 0 if busy else quiet + 1
            if quiet >= 6:
                return plan
        raise AssertionError(f"not settled after {passes} passes: {plan.reason}")

    def until(self, holds: Callable[[], bool], passes: int = 400) -> None:
        """Make passes until something holds. Fails when it does not come to that."""
        for _ in range(passes):
            if holds():
                return
            self.tick()
        raise AssertionError(f"not within {passes} passes: {self.plans[-1].reason}")

    # --- what is asked ------------------------------------------------------------------------------------------

    @property
    def status(self) -> dict[str, Any]:
        """The status as users see it."""
        status: dict[str, Any] = self.body.get("status", {})
        return status

    @property
    def rollout(self) -> dict[str, Any]:
        """What the status tells of a rollout; empty where there is none."""
        found: dict[str, Any] = self.status.get("rollout") or {}
        return found

    def condition(self, wanted: str) -> tuple[str, str, str]:
        """Return status, reason and message of a condition; of one that is not there empty texts."""
        found = ((c["status"], c["reason"], c["message"]) for c in self.status["conditions"] if c["type"] == wanted)
        return next(found, ("", "", ""))

    def notes(self, reason: str) -> list[str]:
        """Return the messages of all events with a reason."""
        return [note.message for plan in self.plans for note in plan.notes if note.reason == reason]

    def images(self) -> list[str]:
        """Return the image of each replica that exists, in the order of slots."""
        keys = sorted(key for key in self.children if key.kind == "StatefulSet")
        return [_image(self.manifests[key]) for key in keys]

    def shares(self) -> dict[str, str]:
        """Return the traffic of each replica, by the name of its StatefulSet."""
        sets = {key.name: child for key, child in self.children.items() if key.kind == "StatefulSet"}
        return {name: child.object.metadata.annotations.traffic for name, child in sorted(sets.items())}

    def uids(self) -> set[str]:
        """Return the uids of the pods that stay."""
        return {e.pod.metadata.uid for e in self.alive if e.pod.metadata.deletion_timestamp is None}

    def upgrade(self, image: str, behaviour: Behaviour | None = None, **rollout: Any) -> None:  # noqa: ANN401
        """Ask for another image, whose replicas behave like that."""
        self.good.add(self.status["revision"])
        self.serving.clear()
        self.bad.clear()
        self.behaviours[image] = behaviour or Behaviour()
        self.change(image=image, rollout={**QUICK, **rollout})

    # --- what happens -------------------------------------------------------------------------------------------

    def lose_node(self, slot: int) -> None:
        """Let the machine of a replica vanish, and its pod with it."""
        lost = next(e for e in self.alive if e.pod.metadata.labels[names.LABEL_SLOT] == str(slot))
        self.alive.remove(lost)
        del self.nodes[lost.pod.spec.node_name]

    def _settle(self) -> None:
        sets = {key.name: child.object for key, child in self.children.items() if key.kind == "StatefulSet"}
        for each in self.alive:
            meta = each.pod.metadata
            owner = sets.get(meta.name.removesuffix("-0"))
            if owner is None:
                self._end(each)
        self.alive = [e for e in self.alive if e.leaves_at is None or e.leaves_at > self.now]
        names_there = {e.pod.metadata.name for e in self.alive}
        for name, child in sorted(sets.items()):
            if f"{name}-0" not in names_there:
                self.alive.append(_Alive(pod=self._new(name, child.metadata)))
        self._schedule()
        for each in self.alive:
            each.pod = self._grown(each)
        self._count()

    def _end(self, each: _Alive) -> None:
        if each.leaves_at is None:
            each.leaves_at = self.now + (DRAIN if each.pod.spec.node_name else timedelta(0))
            meta = msgspec.structs.replace(each.pod.metadata, deletion_timestamp=each.leaves_at)
            each.pod = msgspec.structs.replace(each.pod, metadata=meta)

    def _new(self, name: str, owner: ObjectMeta) -> Pod:
        self._serial += 1
        return Pod(
            metadata=ObjectMeta(
                name=f"{name}-0",
                namespace=OWNER.namespace,
                uid=f"pod-{self._serial}",
                resource_version="1",
                creation_timestamp=self.now,
                labels=dict(owner.labels),
                annotations=Annotations(traffic=owner.annotations.traffic),
            ),
            status=PodStatus(conditions=(PodCondition(type="PodScheduled", status="False", reason="Unschedulable"),)),
        )

    def _schedule(self) -> None:
        taken = {e.pod.spec.node_name for e in self.alive if e.pod.spec.node_name}
        free = [name for name in sorted(self.nodes) if name not in taken][self.foreign :]
        for each in self.alive:
            if each.pod.spec.node_name or each.leaves_at:
                continue
            if not free and self.grows:
                name = f"more-{each.pod.metadata.uid}"
                self.nodes[name] = a_node(name, grows=True)
                free = [name]
            if not free:
                continue
            each.placed_at = self.now
            each.pod = msgspec.structs.replace(each.pod, spec=PodSpec(node_name=free.pop(0)))

    def _behaviour(self, each: _Alive) -> Behaviour:
        key = ChildKey("StatefulSet", each.pod.metadata.name.removesuffix("-0"))
        return self.behaviours.get(_image(self.manifests[key]), Behaviour())

    def _is_up(self, each: _Alive) -> bool:
        behaviour = self._behaviour(each)
        age = self.now - each.placed_at if each.placed_at else timedelta(0)
        dead = behaviour.ends is not None and age >= behaviour.ends_after
        return bool(each.placed_at) and age >= START and behaviour.starts and not dead and not behaviour.waiting

    def _hangs(self, each: _Alive) -> bool:
        after = self._behaviour(each).hangs_after
        return after is not None and self._is_up(each) and self.now - each.placed_at >= START + after

    def _grown(self, each: _Alive) -> Pod:
        pod, behaviour = each.pod, self._behaviour(each)
        if not pod.spec.node_name:
            message = f"0/{len(self.nodes)} nodes are available: {len(self.nodes)} Insufficient {RESOURCE}."
            scheduled = PodCondition(type="PodScheduled", status="False", reason="Unschedulable", message=message)
            return msgspec.structs.replace(pod, status=PodStatus(phase="Pending", conditions=(scheduled,)))
        closed = self.hears and pod.metadata.annotations.traffic == "closed"
        ready = self._is_up(each) and not closed and not self._hangs(each)
        since = each.placed_at + START
        conditions = (
            PodCondition(type="PodScheduled", status="True", last_transition_time=each.placed_at),
            PodCondition(type="Ready", status="True" if ready else "False", last_transition_time=since),
        )
        age = self.now - each.placed_at
        status = ContainerStatus(name="server", ready=ready, started=self._is_up(each))
        if behaviour.waiting:
            waiting = ContainerStateWaiting(reason=behaviour.waiting, message="not found")
            status = ContainerStatus(name="server", state=ContainerState(waiting=waiting))
        elif behaviour.ends and age >= behaviour.ends_after:
            status = ContainerStatus(
                name="server",
                restart_count=1 + int((age - behaviour.ends_after) / timedelta(seconds=10)),
                state=ContainerState(waiting=ContainerStateWaiting(reason="CrashLoopBackOff")),
                last_state=ContainerState(terminated=behaviour.ends),
            )
        return msgspec.structs.replace(
            pod, status=PodStatus(phase="Running", conditions=conditions, container_statuses=(status,))
        )

    def _state(self, each: _Alive) -> ReplicaState | None:
        """Return what the replica says of itself."""
        behaviour = self._behaviour(each)
        if not each.placed_at or behaviour.waiting or (behaviour.ends and not self._is_up(each)):
            return None
        traffic = each.pod.metadata.annotations.traffic
        phase, words = Phase.READY, "vLLM is up"
        if not self._is_up(each):
            phase, words = Phase.LOADING, "vLLM is loading the model"
        elif self._hangs(each):
            phase, words = Phase.NOT_READY, "its engine makes no progress"
        elif traffic == "closed":
            phase, words = Phase.WAITING, "a rollout lets it in"
        served = (self.now - each.placed_at - START).total_seconds() * (0.0 if traffic == "closed" else 2.0)
        answers = max(0.0, served)
        checks: dict[str, CheckResult] = {Check.MODEL_LOADED: CheckResult(ok=True, detail="it is there")}
        if self._is_up(each):
            words_of = {True: "4 of 4 are right", False: "harmony: no reasoning", None: "not asked yet"}
            golden = CheckResult(ok=behaviour.answers, detail=words_of[behaviour.answers])
            checks[Check.GOLDEN_PROMPTS] = golden
        return ReplicaState(
            start_id="one",
            sequence=int(self.now.timestamp()),
            phase=phase,
            verdict=Verdict(ready=phase is Phase.READY, live=True, reason=words),
            uptime_seconds=1.0,
            counters={
                Counter.ANSWERS: answers,
                Counter.ANSWERS_FAILED: answers * behaviour.failed,
                Counter.FIRST_TOKENS: answers,
                Counter.FIRST_TOKEN_SECONDS: answers * behaviour.first_token,
                Counter.FURTHER_TOKENS: answers * 100,
                Counter.FURTHER_TOKEN_SECONDS: answers * 100 * behaviour.further_token,
            },
            checks=checks,
        )

    def _annotate(self, call: Annotate) -> None:
        if call.annotation != names.ANNOTATION_TRAFFIC:
            super()._annotate(call)
            return
        for each in self.alive:
            if each.pod.metadata.uid == call.uid:
                meta = msgspec.structs.replace(each.pod.metadata, annotations=Annotations(traffic=call.value))
                each.pod = msgspec.structs.replace(each.pod, metadata=meta)

    def _count(self) -> None:
        stays = [e for e in self.alive if e.leaves_at is None]
        if self.good:
            self.bad.append(sum(e.pod.metadata.labels[names.LABEL_REVISION] not in self.good for e in stays))
        ready = [e for e in stays if any(c.type == "Ready" and c.status == "True" for c in e.pod.status.conditions)]
        self.serving.append(sum(e.pod.metadata.annotations.traffic in ("", "open") for e in ready))


def an_end(exit_code: int = 1, message: str = "", reason: str = "Error") -> ContainerStateTerminated:
    return ContainerStateTerminated(exit_code=exit_code, reason=reason, message=message)


def a_node(name: str, *, grows: bool = False) -> Node:
    labels = {"karpenter.sh/nodepool": "gpus"} if grows else {}
    return Node(
        metadata=ObjectMeta(name=name, uid=name, resource_version="1", labels=labels),
        status=NodeStatus(allocatable={RESOURCE: "1"}, conditions=(NodeCondition(type="Ready", status="True"),)),
    )


def a_world(**options: Any) -> World:  # noqa: ANN401 - those of World
    """Return a world that has settled."""
    world = World(**options)
    world.settle()
    return world


def _image(manifest: dict[str, Any]) -> str:
    image: str = manifest["spec"]["template"]["spec"]["containers"][0]["image"]
    return image
