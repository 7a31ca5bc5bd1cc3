"""A small cluster with machines, zones and a clock: for following scaling and spot machines through many passes."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from gptoss_operator.api import names
from gptoss_operator.core.actions import Plan
from gptoss_operator.core.objects import (
    ContainerState,
    ContainerStatus,
    Node,
    NodeCondition,
    NodeSpec,
    NodeStatus,
    ObjectMeta,
    Pod,
    PodCondition,
    PodSpec,
    PodStatus,
    Taint,
)
from gptoss_operator.core.observation import ChildKey, Observation
from gptoss_operator.core.scaling.load import Load, ReplicaLoad, Work
from tests.core.builders import OWNER, a_body
from tests.core.cluster import Cluster


TICK = timedelta(seconds=5)
COLD_START = timedelta(seconds=60)
ZONES = ("a", "b", "c")
PRICES = [{"capacityType": "OnDemand", "gpuHour": "3.00"}, {"capacityType": "Spot", "gpuHour": "1.20"}]


class Fleet(Cluster):
    """Nodes appear for pods as long as their zone has machines; pods are ready `COLD_START` after that."""

    def __init__(self, **spec: Any) -> None:  # noqa: ANN401 - a raw object of the API
        super().__init__(a_body(**spec))
        self.nodes: dict[str, Node] = {zone: a_node(zone, zone=zone) for zone in ZONES}
        """Those without a GPU are always there."""
        self.dry: set[tuple[str, str]] = set()
        """Capacity types and zones without machines."""
        self.load = idle()
        self.unreachable: dict[str, datetime] = {}
        self.plans: list[Plan] = []
        self.forgets = False
        """Whether the process is new in each pass."""
        self._placed_at: dict[str, datetime] = {}

    def look(self) -> Observation:
        busy = {slot: self.load.replicas[slot] for slot in self.load.replicas if slot in self.pods}
        return replace(
            super().look(),
            nodes=dict(self.nodes),
            load=replace(self.load, replicas=busy),
            unreachable=dict(self.unreachable),
        )

    def pass_once(self, stop_after: int | None = None) -> Plan:
        plan = super().pass_once(stop_after)
        self.memory = None if self.forgets else plan.memory
        self.plans.append(plan)
        return plan

    def tick(self, passes: int = 1) -> Plan:
        """Make so many passes, five seconds apart."""
        for _ in range(passes):
            self.now += TICK
            self._settle_pods()
            plan = self.pass_once()
        return plan

    def settle(self, passes: int = 400) -> Plan:
        """Make passes until nothing was done for a minute. Fails when that does not happen."""
        quiet = 0
        for _ in range(passes):
            plan = self.tick()
            quiet = 0 if plan.applies or plan.deletes or plan.notes else quiet + 1
            if quiet >= 12:
                return plan
        raise AssertionError(f"not settled after {passes} passes: {plan.reason}")

    def take_node(self, slot: int) -> None:
        """Let the machine of a replica vanish, and its pod with it."""
        pod = self.pods.pop(slot)
        del self.nodes[pod.spec.node_name]
        self._settle_pods()

    def taint(self, slot: int, key: str) -> None:
        """Announce the end of the machine of a replica."""
        name = self.pods[slot].spec.node_name
        taints = (Taint(key=key, effect="NoSchedule"),)
        self.nodes[name] = msgspec.structs.replace(self.nodes[name], spec=NodeSpec(taints=taints))

    def where(self) -> dict[int, tuple[str, str]]:
        """Return the capacity type and zone that each replica asks for."""
        labels = {
            slot: self.children[ChildKey("StatefulSet", names.replica(OWNER.name, slot))].object.metadata.labels
            for slot in self.pods
        }
        return {
            slot: (said.get(names.LABEL_CAPACITY, ""), said.get(names.LABEL_ZONE, "")) for slot, said in labels.items()
        }

    def kinds(self) -> dict[str, int]:
        """Return how many replicas there are of each capacity type."""
        found = [kind for kind, _ in self.where().values()]
        return {kind: found.count(kind) for kind in sorted(set(found))}

    @property
    def status(self) -> dict[str, Any]:
        """The status as users see it."""
        status: dict[str, Any] = self.body["status"]
        return status

    def condition(self, wanted: str) -> tuple[str, str, str]:
        """Return status, reason and message of a condition."""
        return next((c["status"], c["reason"], c["message"]) for c in self.status["conditions"] if c["type"] == wanted)

    def notes(self) -> list[tuple[str, str]]:
        """Return the reasons and messages of all events so far."""
        return [(str(note.reason), note.message) for plan in self.plans for note in plan.notes]

    def _settle_pods(self) -> None:
        sets = {
            int(child.object.metadata.labels[names.LABEL_SLOT]): child.object.metadata.labels
            for key, child in self.children.items()
            if key.kind == "StatefulSet"
        }
        self.pods = {slot: self._grown(pod, sets[slot]) for slot, pod in self.pods.items() if slot in sets}
        for slot, labels in sets.items():
            if slot not in self.pods:
                self.pods[slot] = self._grown(self._new_pod(slot, labels[names.LABEL_REVISION]), labels)
        used = {pod.spec.node_name for pod in self.pods.values()}
        self.nodes = {name: node for name, node in self.nodes.items() if name in used or name in ZONES}
        self.ready_history.append(self._ready())

    def _new_pod(self, slot: int, revision: str) -> Pod:
        self._serial += 1
        name = f"{names.replica(OWNER.name, slot)}-0"
        return Pod(
            metadata=ObjectMeta(
                name=name,
                namespace=OWNER.namespace,
                uid=f"pod-{self._serial}",
                resource_version="1",
                creation_timestamp=self.now,
                labels={names.LABEL_SLOT: str(slot), names.LABEL_REVISION: revision},
            ),
            status=PodStatus(conditions=(PodCondition(type="PodScheduled", status="False", reason="Unschedulable"),)),
        )

    def _grown(self, pod: Pod, labels: dict[str, str]) -> Pod:
        """Return the pod as it is now: without a machine, starting or ready."""
        slot, uid = int(pod.metadata.labels[names.LABEL_SLOT]), pod.metadata.uid
        if not pod.spec.node_name:
            kind, zone = labels.get(names.LABEL_CAPACITY, ""), labels.get(names.LABEL_ZONE, "")
            if (kind, zone) in self.dry or (kind, "") in self.dry:
                return pod
            name = f"node-{uid}"
            self.nodes[name] = a_node(name, zone=zone or ZONES[slot % len(ZONES)], capacity=kind or "on-demand")
            self._placed_at[uid] = self.now
            pod = msgspec.structs.replace(pod, spec=PodSpec(node_name=name))
        began = self._placed_at[uid]
        ready = self.now - began >= COLD_START and slot not in self.unready
        conditions = (
            PodCondition(type="PodScheduled", status="True", last_transition_time=began),
            PodCondition(
                type="Ready",
                status="True" if ready else "False",
                last_transition_time=began + COLD_START if ready else began,
            ),
        )
        said = tuple(c for c in pod.status.conditions if c.type not in ("PodScheduled", "Ready"))
        container = ContainerStatus(name="server", ready=ready, started=ready, state=ContainerState())
        status = PodStatus(phase="Running", conditions=(*conditions, *said), container_statuses=(container,))
        return msgspec.structs.replace(pod, status=status)

    def _ready(self) -> int:
        return sum(
            any(c.type == "Ready" and c.status == "True" for c in p.status.conditions) for p in self.pods.values()
        )


def a_scaled_fleet(load: float = 0.0, **scaling: object) -> Fleet:
    """Return a settled fleet of one to six replicas under a load in requests per second."""
    calm = {"target": {"utilizationPercent": 75}, "down": {"stabilizationSeconds": 600}}
    fleet = Fleet(scaling={"minReplicas": 1, "maxReplicas": 6, **calm, **scaling})
    fleet.settle()
    if load:
        fleet.load = a_load(load)
        fleet.settle()
    return fleet


def a_spot_fleet(replicas: int = 4, **spot: object) -> Fleet:
    """Return a settled fleet with one replica on demand and the others on spot machines."""
    fleet = Fleet(
        scaling={"minReplicas": replicas, "maxReplicas": replicas},
        spot={"enabled": True, "baseOnDemand": 1, "maxExtra": 0, **spot},
        prices=PRICES,
    )
    fleet.settle()
    return fleet


def spot_slots(fleet: Fleet) -> list[int]:
    return sorted(slot for slot, (kind, _) in fleet.where().items() if kind == "spot")


def a_node(name: str, *, zone: str = "", capacity: str = "", ready: bool = True) -> Node:
    labels = {
        "topology.kubernetes.io/zone": zone,
        names.LABEL_CAPACITY: capacity,
        # They come as they are needed.
        "karpenter.sh/nodepool": "gpus",
    }
    return Node(
        metadata=ObjectMeta(
            name=name, uid=name, resource_version="1", labels={key: value for key, value in labels.items() if value}
        ),
        status=NodeStatus(conditions=(NodeCondition(type="Ready", status="True" if ready else "False"),)),
    )


def a_load(rate: float, *, queued: float = 0.0, held: float = 0.0, running: float | None = None) -> Load:
    """Return requests of a kind of which one replica serves about one in a second, at `rate` in a second."""
    busy = 10 * rate if running is None else running
    # By slot; the fleet takes those that exist.
    each = ReplicaLoad(
        running=10.0,
        waiting=0.0,
        in_flight=10.0,
        kv_usage=0.1,
        tokens_per_second=250.0,
        max_num_seqs=16.0,
        kv_tokens=1e6,
    )
    return Load(
        gateway_age_seconds=1.0,
        arrivals_1m=rate,
        arrivals_5m=rate,
        arrivals_earlier=rate,
        queued=queued,
        held=held,
        oldest_wait_seconds=1.0 if held else None,
        in_flight=busy,
        idle_seconds=0.0,
        ttft_p95_seconds=0.5,
        work=Work(requests=1000.0, prompt_tokens=500_000.0, generation_tokens=250_000.0),
        replicas=dict.fromkeys(range(64), each) if busy else {},
    )


def idle(seconds: float = 0.0) -> Load:
    """Return that nobody has asked for so long."""
    nothing = ReplicaLoad(running=0.0, waiting=0.0, in_flight=0.0, kv_usage=0.0)
    return Load(
        gateway_age_seconds=1.0,
        arrivals_1m=0.0,
        arrivals_5m=0.0,
        arrivals_earlier=0.0,
        queued=0.0,
        held=0.0,
        in_flight=0.0,
        idle_seconds=seconds,
        replicas=dict.fromkeys(range(64), nothing),
    )
