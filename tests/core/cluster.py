"""A cluster that exists only in tests, and follows plans through many passes."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from gptoss_operator.api import names
from gptoss_operator.core.actions import Annotate, Apply, Delete, Plan, digest_of
from gptoss_operator.core.objects import (
    Annotations,
    Child,
    ChildCondition,
    ChildStatus,
    ObjectMeta,
    Pod,
    Record,
)
from gptoss_operator.core.observation import ChildKey, Manifest, Observation, ObservedChild
from gptoss_operator.core.plan import make_plan
from tests.core.builders import NOW, OPTIONS, OWNER, a_gateway_pod, a_pod, with_annotations


if TYPE_CHECKING:
    from gptoss_operator.core.memory import Memory
    from gptoss_runtime.contract import ReplicaState


class Cluster:
    """A very small cluster that does at once what it is told: for following a plan through many passes."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.children: dict[ChildKey, ObservedChild] = {}
        self.pods: dict[int, Pod] = {}
        self.unready: set[int] = set()
        """Slots whose pods do not become ready."""
        self.ready_history: list[int] = []
        self.fetches_end: str | None = "Complete"
        """The condition that every Job has a moment after it was made. None: it goes on."""
        self.weights_pods: tuple[Pod, ...] = ()
        self.secrets: dict[str, str] | None = None
        self.states: dict[int, ReplicaState] = {}
        """What the replicas in slots say of themselves."""
        self.told: dict[str, str] = {}
        """Version of the API keys that each gateway pod was told of, by its name."""
        self.now = NOW
        self.hears = False
        """Whether replicas are asked how they are. If not, `states` is empty, and pods say all that is known."""
        self.manifests: dict[ChildKey, Manifest] = {}
        """What was applied last."""
        self.memory: Memory | None = None
        """What the pass before has given. None: the process is new in each pass, which must make no difference."""
        self._serial = 0

    def look(self) -> Observation:
        return Observation(
            owner=replace(OWNER, generation=self.body["metadata"]["generation"]),
            children=dict(self.children),
            replica_pods=tuple(self.pods.values()),
            revisions=self.records(),
            hears_replicas=self.hears or bool(self.states),
            gateway_pods=self._gateway_pods(),
            weights_pods=self.weights_pods,
            secrets=self.secrets,
            replica_states={
                self.pods[slot].metadata.uid: said for slot, said in self.states.items() if slot in self.pods
            },
        )

    def pass_once(self, stop_after: int | None = None) -> Plan:
        """Make one plan and do its first `stop_after` calls, or all, and the status."""
        plan = make_plan(self.body, self.look(), OPTIONS, self.now, self.memory)
        calls: list[Apply | Delete | Annotate] = [*plan.applies, *plan.deletes, *plan.annotates]
        for call in calls[:stop_after]:
            if isinstance(call, Delete):
                self._delete(call.key)
            elif isinstance(call, Annotate):
                self._annotate(call)
            else:
                self._apply(call.manifest)
        if plan.status and (stop_after is None or stop_after > len(calls)):
            self.body["status"] = plan.status.model_dump(by_alias=True, exclude_none=True, mode="json")
        self._settle_pods()
        self._settle_jobs()
        return plan

    def change(self, **spec: Any) -> None:  # noqa: ANN401 - a raw object of the API
        """Change fields of the spec, as a user does."""
        metadata = {**self.body["metadata"], "generation": self.body["metadata"]["generation"] + 1}
        self.body = {**self.body, "metadata": metadata, "spec": {**self.body["spec"], **spec}}

    def records(self) -> dict[str, Record]:
        """Return the records of revisions."""
        kept = {key: child for key, child in self.children.items() if key.kind == "ControllerRevision"}
        return {
            child.object.metadata.labels[names.LABEL_REVISION]: Record(
                metadata=child.object.metadata,
                data=msgspec.Raw(msgspec.json.encode(self.manifests[key]["data"])),
                revision=self.manifests[key]["revision"],
            )
            for key, child in kept.items()
        }

    def revisions(self) -> list[str]:
        """Return the revision of each replica that exists, in the order of slots."""
        sets = {key.name: child for key, child in self.children.items() if key.kind == "StatefulSet"}
        return [sets[name].object.metadata.labels[names.LABEL_REVISION] for name in sorted(sets)]

    def lose(self, key: ChildKey) -> None:
        """Let somebody else delete a child, and what depends on it."""
        del self.children[key]
        self._settle_pods()

    def run(self, passes: int = 40) -> Plan:
        """Make passes until one does nothing. Fails when that does not happen."""
        for _ in range(passes):
            plan = self.pass_once()
            if not (plan.applies or plan.deletes or plan.annotates or plan.status):
                return plan
        raise AssertionError(f"not settled after {passes} passes: {plan.reason}")

    def end_fetches(self, how: str) -> None:
        """Let the Jobs that run, and those that will be made, end."""
        self.fetches_end = how
        self._settle_jobs()

    def jobs(self) -> list[str]:
        """Return the names of the Jobs that there are."""
        return [key.name for key in self.children if key.kind == "Job"]

    def _gateway_pods(self) -> tuple[Pod, ...]:
        """Return the pods that the Deployment controller has made of the gateway as it was applied last."""
        gateway = self.manifests.get(ChildKey("Deployment", names.gateway(OWNER.name)))
        if not gateway:
            return ()
        config = gateway["spec"]["template"]["metadata"]["annotations"][names.ANNOTATION_CONFIG]
        pods = (a_gateway_pod(n) for n in range(gateway["spec"]["replicas"]))
        return tuple(
            with_annotations(pod, Annotations(config=config, keys_version=self.told.get(pod.metadata.name, "")))
            for pod in pods
        )

    def _annotate(self, call: Annotate) -> None:
        if call.annotation == names.ANNOTATION_KEYS:
            self.told[call.pod] = call.value
            return
        slot = next(slot for slot, pod in self.pods.items() if pod.metadata.name == call.pod)
        self.pods[slot] = with_annotations(self.pods[slot], Annotations(traffic=call.value))

    def _apply(self, manifest: Manifest) -> None:
        key = ChildKey(manifest["kind"], manifest["metadata"]["name"])
        self.manifests[key] = manifest
        old = self.children.get(key)
        self._serial += 1
        meta = ObjectMeta(
            name=key.name,
            uid=old.object.metadata.uid if old else f"uid-{self._serial}",
            resource_version=str(self._serial),
            labels={**manifest["metadata"]["labels"]},
            annotations=msgspec.convert(manifest["metadata"].get("annotations", {}), Annotations),
            creation_timestamp=old.object.metadata.creation_timestamp if old else self.now,
        )
        self.children[key] = ObservedChild(object=Child(metadata=meta), applied_digest=digest_of(manifest))

    def _delete(self, key: ChildKey) -> None:
        if key.kind == "Pod":
            slot = next(slot for slot, pod in self.pods.items() if pod.metadata.name == key.name)
            del self.pods[slot]
            self.ready_history.append(self._ready())
        else:
            del self.children[key]

    def _settle_jobs(self) -> None:
        for key, child in self.children.items():
            if key.kind == "Job" and self.fetches_end and not child.object.status.conditions:
                ended = ChildCondition(type=self.fetches_end, status="True", message="it has reached its limit")
                job = msgspec.structs.replace(child.object, status=ChildStatus(conditions=(ended,), start_time=NOW))
                self.children[key] = ObservedChild(object=job, applied_digest=child.applied_digest)

    def _settle_pods(self) -> None:
        """Let the StatefulSet controller and the kubelet catch up."""
        sets = {
            int(child.object.metadata.labels[names.LABEL_SLOT]): child.object.metadata.labels[names.LABEL_REVISION]
            for key, child in self.children.items()
            if key.kind == "StatefulSet"
        }
        self.pods = {slot: pod for slot, pod in self.pods.items() if slot in sets}
        for slot, revision in sets.items():
            if slot not in self.pods:
                self.pods[slot] = self._with_traffic(
                    slot, a_pod(slot, revision=revision, ready=slot not in self.unready)
                )
        self.ready_history.append(self._ready())

    def _with_traffic(self, slot: int, pod: Pod) -> Pod:
        """Return a new pod with the annotation that its StatefulSet's template has."""
        child = self.children[ChildKey("StatefulSet", names.replica(OWNER.name, slot))].object
        return with_annotations(pod, Annotations(traffic=child.metadata.annotations.traffic))

    def _ready(self) -> int:
        return sum(pod.status.conditions[0].status == "True" for pod in self.pods.values())
