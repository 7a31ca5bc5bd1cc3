"""Rolling deployments out on simulated machines, with simulated replicas and a real operator."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from e2e.cluster.local.kwok import gpu_node
from e2e.cluster.provider import Cluster
from e2e.kubectl import Kubectl
from e2e.watch import condition, settled
from tests.integration.asking import SETTLE_SECONDS, deployment
from tests.integration.players import Players, playing
from tests.integration.recorder import Obj, Recorder, is_ready, recording, traffic_of
from tests.integration.simulated import hearing_operator


MACHINES: Final = "rollout-test"
"""Label of the machines of one test; its value is the test's namespace."""
POOL: Final = "rollout-pool"
"""Label of those of one deployment of it."""
DEADLINE_SECONDS: Final = 10
"""`spec.rollout.progressDeadlineSeconds` where it is to be over: the least that is possible."""
NO_DEADLINE_SECONDS: Final = 600
"""The same where it is not, be the machine as busy as it may."""
HOLD_SECONDS: Final = 2
PASS_SECONDS: Final = 2.0
"""How often a rollout is looked at."""
SLACK_SECONDS: Final = 10.0
"""For two cores that are busy with other tests: an operator that answers late, a kubectl that starts late."""
DOES_NOT_PULL: Final = "simulated:does-not-pull"
"""The simulated kubelet does not get this image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A namespace in which rollouts are watched."""

    user: Kubectl
    recorder: Recorder
    players: Players
    """Of the replicas, for an operator that hears them."""
    scratch: Path

    def settle(self, name: str = "chat", *, seconds: float = SETTLE_SECONDS) -> Obj:
        """Return a deployment as soon as it is as its spec asks."""
        self.recorder.until(
            lambda: self._known(name) and settled(self._known(name)), f"{name} settles", seconds=seconds
        )
        return self.recorder.deployment(name)

    def change(self, name: str = "chat", **spec: Any) -> int:  # noqa: ANN401 - a part of a raw object
        """Change the spec; return the mark of the moment before."""
        mark = self.recorder.mark()
        self.user("patch", "gptoss", name, "--type=merge", "-p", json.dumps({"spec": spec}))
        return mark

    def rolled_out(self, name: str = "chat", *, seconds: float = SETTLE_SECONDS) -> Obj:
        """Return a deployment as soon as what its spec asks for serves as a whole."""

        def done() -> bool:
            obj = self._known(name)
            status = obj.get("status", {})
            seen = status.get("observedGeneration") == obj["metadata"]["generation"]
            return seen and status["currentRevision"] == status["revision"] and "rollout" not in status

        self.recorder.until(done, f"{name} is rolled out", seconds=seconds)
        return self.recorder.deployment(name)

    def complete(self, name: str = "chat", *, seconds: float = SETTLE_SECONDS) -> Obj:
        """Return a deployment as soon as it is rolled out and those that were replaced are gone."""
        self.rolled_out(name, seconds=seconds)
        return self.settle(name, seconds=seconds)

    def refused(self, name: str = "chat", *, seconds: float = SETTLE_SECONDS) -> Obj:
        """Return what its status says of the refused revision as soon as it does."""
        found: Obj = self.recorder.until(
            lambda: self.recorder.status(name).get("refusedRevision"), f"{name} refuses a revision", seconds=seconds
        )
        return found

    def rolled_back(self, name: str = "chat", *, replicas: int, seconds: float = SETTLE_SECONDS) -> Obj:
        """Return a deployment as soon as a revision is refused and the one of before serves as a whole."""
        refused = self.refused(name, seconds=seconds)

        def back() -> bool:
            pods, status = self.recorder.replicas(name, kind="Pod"), self.recorder.status(name)
            bad = self.recorder.replicas(name, refused["revision"])
            ready = sum(is_ready(pod) for pod in pods) == len(pods) == status.get("readyReplicas") == replicas
            return not bad and ready and "rollout" not in status

        self.recorder.until(back, f"{name} is back", seconds=seconds)
        return self.recorder.deployment(name)

    def canary(self, name: str = "chat") -> Obj:
        """Return the canary's pod as soon as it serves a share of the requests."""

        def found() -> Obj | None:
            pods = self.recorder.replicas(name, kind="Pod")
            return next((pod for pod in pods if is_ready(pod) and traffic_of(pod) == "25"), None)

        return self.recorder.until(found, f"{name} has a canary")

    def serving(self, name: str = "chat") -> list[Obj]:
        """Return the StatefulSets of the replicas that serve with their full share."""
        ready = {
            pod["metadata"]["ownerReferences"][0]["uid"]
            for pod in self.recorder.replicas(name, kind="Pod")
            if is_ready(pod) and traffic_of(pod) in ("", "open")
        }
        return [each for each in self.recorder.replicas(name) if each["metadata"]["uid"] in ready]

    def _known(self, name: str) -> Obj:
        try:
            return self.recorder.deployment(name)
        except KeyError:
            return {"metadata": {"generation": 0}}


@contextmanager
def staged(cluster: Cluster, namespace: str, scratch: Path) -> Iterator[Stage]:
    """Watch and play the replicas of a namespace as long as it is open."""
    user = Kubectl(cluster, namespace)
    with recording(user) as recorder, playing(cluster, user, recorder, scratch) as players:
        yield Stage(user=user, recorder=recorder, players=players, scratch=scratch)


@contextmanager
def heard(cluster: Cluster, stage: Stage) -> Iterator[None]:
    """Run an operator that hears the replicas of a namespace."""
    with hearing_operator(cluster, stage.user.namespace, stage.scratch / "operator.log"):
        yield


@contextmanager
def machines(user: Kubectl, *gpus: int, pool: str = "all") -> Iterator[list[str]]:
    """Have machines with so many GPUs as long as it is open; yield their names."""
    nodes = [gpu_node(f"{user.namespace}-{pool}-{number}", gpus=count) for number, count in enumerate(gpus)]
    for node in nodes:
        node["metadata"]["labels"] |= {MACHINES: user.namespace, POOL: pool}
    user.apply(*nodes)
    try:
        yield [node["metadata"]["name"] for node in nodes]
    finally:
        user("delete", "nodes", f"--selector={MACHINES}={user.namespace},{POOL}={pool}", "--wait=false")


def rolling(
    user: Kubectl,
    name: str = "chat",
    *,
    pool: str = "all",
    rollout: Mapping[str, Any] | None = None,
    **spec: Any,  # noqa: ANN401 - a raw object
) -> Obj:
    """Return a deployment on the machines of a pool, each of whose replicas has one GPU."""
    gates = {"canary": {"holdSeconds": HOLD_SECONDS}}
    asked = deployment(
        gpu={"type": "H100-80GB", "nodeSelector": {MACHINES: user.namespace, POOL: pool}},
        tensorParallel=1,
        rollout={"progressDeadlineSeconds": NO_DEADLINE_SECONDS, "gates": gates, **(rollout or {})},
        **{"replicas": 2, **spec},
    )
    return {**asked, "metadata": {"name": name}}


def seconds_until(stage: Stage, mark: int, name: str, reached: Callable[[Obj], bool]) -> float:
    """Return how long after `mark` the deployment was first seen as `reached` wants it."""
    changes = [c for c in stage.recorder.since(mark, "GptOssDeployment") if c.obj["metadata"]["name"] == name]
    return next(c.at for c in changes if reached(c.obj)) - changes[0].at


def events(user: Kubectl, name: str, reason: str) -> list[str]:
    """Return the messages of a deployment's events of one reason."""
    found = user.items("events", f"--field-selector=involvedObject.name={name},reason={reason}")
    return [event["message"] for event in found]


def outcomes(obj: Obj) -> list[tuple[str, str]]:
    """Return what became of the revisions, the newest first."""
    return [(entry["revision"], entry["outcome"]) for entry in obj["status"]["history"]]


def says(obj: Obj, wanted: str) -> tuple[str, str]:
    """Return status and reason of a condition."""
    found = condition(obj, wanted)
    return found["status"], found["reason"]
