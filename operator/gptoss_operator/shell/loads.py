"""What gateways and replicas have said, collected by deployment until a pass asks for the load."""

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from gptoss_operator.api import names
from gptoss_operator.core.health import holds
from gptoss_operator.core.objects import Pod
from gptoss_operator.core.scaling.histories import (
    GatewayHistory,
    ReplicaHistory,
    after_document,
    after_state,
    first_tokens,
    replica_load,
)
from gptoss_operator.core.scaling.load import NOTHING_KNOWN, STALE_SECONDS, Load, ReplicaLoad
from gptoss_operator.core.scaling.measure import TTFT_SECONDS, WORK_SECONDS, load_of
from gptoss_operator.core.scaling.rates import KEEP_SECONDS, Bins, Reading, is_newer
from gptoss_operator.shell.store import Key
from gptoss_runtime.contract import Gauge, ReplicaState
from gptoss_runtime.gateway_contract import GatewayState


@dataclass(slots=True)
class _Heard:
    """What was heard of one deployment."""

    gateways: dict[str, GatewayHistory] = field(default_factory=dict)
    """By the pod's uid; those of pods that are gone for as long as their arrivals count."""
    replicas: dict[str, ReplicaHistory] = field(default_factory=dict)
    first_tokens: Bins = field(default_factory=lambda: Bins(TTFT_SECONDS))
    work: Bins = field(default_factory=lambda: Bins(WORK_SECONDS))
    active_at: float | None = None
    """When a replica, or a gateway that is not among `gateways` any more, last had a request."""


class Loads:
    """Takes in every document, and makes the load of them."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` does not go back."""
        self._clock = clock
        self._heard: dict[Key, _Heard] = {}

    def take_gateway(self, deployment: Key, uid: str, state: GatewayState) -> bool:
        """Take in what a gateway said. Return whether it is news: not what it has said already."""
        heard = self._heard.setdefault(deployment, _Heard())
        before, now = heard.gateways.get(uid), self._clock()
        if before is not None and not is_newer(before.reading, Reading(now, state.start_id, state.sequence, {})):
            return False
        after = heard.gateways[uid] = after_document(before, state, now)
        gains = first_tokens(before, after)
        if gains:
            heard.first_tokens.add(now, gains)
        return True

    def take_replica(self, deployment: Key, uid: str, state: ReplicaState) -> None:
        """Take in what a replica said, which is news."""
        heard = self._heard.setdefault(deployment, _Heard())
        now = self._clock()
        heard.replicas[uid], work = after_state(heard.replicas.get(uid), state, now)
        if work is not None:
            heard.work.add(now, work)
        if state.gauges.get(Gauge.REQUESTS_IN_FLIGHT, 0.0) > 0:
            heard.active_at = now

    def gateway(self, deployment: Key, uid: str) -> GatewayHistory | None:
        """Return what a gateway has said."""
        heard = self._heard.get(deployment)
        return heard.gateways.get(uid) if heard else None

    def is_fresh(self, deployment: Key, uid: str) -> bool:
        """Return whether a gateway has said something that still counts."""
        history = self.gateway(deployment, uid)
        return history is not None and self._clock() - history.at <= STALE_SECONDS

    def load(
        self,
        deployment: Key,
        gateway_pods: Iterable[Pod],
        replica_pods: Iterable[Pod],
        state_of: Callable[[str], ReplicaState | None],
    ) -> Load:
        """Return the load of now. `state_of` returns what the replica in a pod said a moment ago, or None."""
        heard = self._heard.get(deployment)
        if heard is None:
            return NOTHING_KNOWN
        now, pods = self._clock(), list(gateway_pods)
        return load_of(
            heard.gateways,
            now,
            present={pod.metadata.uid for pod in pods},
            ready={pod.metadata.uid for pod in pods if is_ready(pod)},
            first_tokens=heard.first_tokens.sums(now),
            work=heard.work.sums(now),
            active_at=heard.active_at,
            replicas=dict(_replicas(heard, replica_pods, state_of)),
        )

    def keep_only(self, uids: Collection[str]) -> None:
        """Forget all other pods; those of gateways not before their arrivals have ceased to count."""
        now = self._clock()
        for deployment, heard in list(self._heard.items()):
            _forget_old(heard, uids, now)
            if not heard.gateways and not heard.replicas:
                del self._heard[deployment]


def is_ready(pod: Pod) -> bool:
    """Return whether Kubernetes sends somebody to the pod."""
    return pod.metadata.deletion_timestamp is None and holds(pod, "Ready")


def _replicas(
    heard: _Heard, pods: Iterable[Pod], state_of: Callable[[str], ReplicaState | None]
) -> Iterable[tuple[int, ReplicaLoad]]:
    for pod in pods:
        state, slot = state_of(pod.metadata.uid), pod.metadata.labels.get(names.LABEL_SLOT, "")
        if state is not None and state.verdict.ready and slot.isdecimal() and is_ready(pod):
            yield int(slot), replica_load(state, heard.replicas.get(pod.metadata.uid))


def _forget_old(heard: _Heard, uids: Collection[str], now: float) -> None:
    for uid in heard.replicas.keys() - uids:
        del heard.replicas[uid]
    for uid in heard.gateways.keys() - uids:
        if now - heard.gateways[uid].at > KEEP_SECONDS:
            active_at = heard.gateways.pop(uid).active_at
            heard.active_at = max((at for at in (heard.active_at, active_at) if at is not None), default=None)
