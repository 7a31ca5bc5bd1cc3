"""A small cluster with GPUs, a clock and replicas that say how they are: for following rollouts through many passes."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec

from gptoss_operator.api import names
from gptoss_operator.core.actions import Annotate, Apply, Delete, Plan
from gptoss_operator.core.health import holds
from gptoss_operator.core.objects import (
    Annotations,
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
from tests.core.builders import OPTIONS, OWNER, a_body, with_annotations
from tests.core.cluster import Cluster
from tests.rollout.simulated import RESOURCE, Alive, Behaviour, grown, state_of


TICK = timedelta(seconds=5)
DRAIN = timedelta(seconds=10)
QUICK = {"progressDeadlineSeconds": 120, "surgeWaitSeconds": 20, "gates": {"canary": {"holdSeconds": 20}}}


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
        self.alive: list[Alive] = []
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
        said = ((e.pod.metadata.uid, state_of(e, self._behaviour(e), self.now)) for e in self.alive if self.hears)
        states = {uid: state for uid, state in said if state is not None}
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
        self.go_on()
        return plan

    def tick(self, passes: int = 1) -> Plan:
        """Let time pass, with a pass every five seconds."""
        for _ in range(passes):
            self.now += TICK
            self.go_on()
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
        return [image_of(self.manifests[key]) for key in keys]

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
        self.lose_machine(next(e for e in self.alive if e.pod.metadata.labels[names.LABEL_SLOT] == str(slot)))

    def lose_machine(self, lost: Alive) -> None:
        """Let the machine of a pod vanish, and the pod with it."""
        self.alive.remove(lost)
        del self.nodes[lost.pod.spec.node_name]

    def go_on(self) -> None:
        """Let the cluster do what it does by itself."""
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
                self.alive.append(Alive(pod=self._new(name, child.metadata)))
        self._schedule()
        for each in self.alive:
            each.pod = grown(each, self._behaviour(each), self.now, gated=self.hears, nodes=len(self.nodes))
        self._count()

    def _end(self, each: Alive) -> None:
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

    def _behaviour(self, each: Alive) -> Behaviour:
        key = ChildKey("StatefulSet", each.pod.metadata.name.removesuffix("-0"))
        return self.behaviours.get(image_of(self.manifests[key]), Behaviour())

    def _annotate(self, call: Annotate) -> None:
        if call.annotation != names.ANNOTATION_TRAFFIC:
            super()._annotate(call)
            return
        for each in self.alive:
            if each.pod.metadata.uid == call.uid:
                each.pod = with_annotations(each.pod, Annotations(traffic=call.value))

    def _count(self) -> None:
        stays = [e for e in self.alive if e.leaves_at is None]
        if self.good:
            self.bad.append(sum(e.pod.metadata.labels[names.LABEL_REVISION] not in self.good for e in stays))
        ready = [e for e in stays if holds(e.pod, "Ready")]
        self.serving.append(sum(e.pod.metadata.annotations.traffic in ("", "open") for e in ready))


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


def image_of(manifest: dict[str, Any]) -> str:
    """Return the image of the server in a StatefulSet."""
    image: str = manifest["spec"]["template"]["spec"]["containers"][0]["image"]
    return image
