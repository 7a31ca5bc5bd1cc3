"""What the market has taken: each spot pod that loses its machine is told to the placement once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gptoss_operator.core.fate import Fate
from gptoss_operator.core.fleet import Replica
from gptoss_operator.core.memory import Memory, SpotPod
from gptoss_operator.core.observation import Observation
from gptoss_operator.core.placement.places import CapacityType, Interruption, PlacedReplica


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What is new since the last pass."""

    interruptions: tuple[Interruption, ...]
    silent: tuple[int, ...]
    """Slots of replicas that are lost since then."""
    memory: Memory


def news_of(
    placed: Sequence[PlacedReplica],
    replicas: Sequence[Replica],
    fates: Mapping[int, Fate],
    *,
    seen: Observation,
    memory: Memory,
    now: datetime,
) -> News:
    """Return the interruptions that were not told before, with the memory that knows them.

    A pod of ours on a spot machine is interrupted when its machine goes, or went together with it between two passes.
    One that was removed, or lost its process only, is not.
    """
    pods = {r.slot: r.pod.metadata.uid for r in replicas if r.pod is not None}
    nodes = {r.slot: r.pod.spec.node_name for r in replicas if r.pod is not None}
    at_hand = {pod.metadata.uid for pod in seen.replica_pods}
    # Somebody has deleted them, such as a rollout: that their machines go as well is no news.
    leaving = {pod.metadata.uid for pod in seen.replica_pods if pod.metadata.deletion_timestamp}
    told = memory.told & at_hand
    fresh = {slot: pods[slot] for slot in fates if slot in pods and pods[slot] not in told}
    on_spot = {
        pods[r.slot]: SpotPod(node=nodes[r.slot], zone=r.zone, pool=r.place.pool)
        for r in placed
        if r.slot in pods and r.place.capacity is CapacityType.SPOT and pods[r.slot] not in leaving
    }
    taken = [on_spot[uid] for slot, uid in fresh.items() if uid in on_spot and fates[slot].machine_goes]
    taken += [
        pod
        for uid, pod in memory.spot_pods.items()
        if uid not in at_hand and uid not in memory.told and pod.node and seen.nodes and pod.node not in seen.nodes
    ]
    return News(
        interruptions=tuple(Interruption(zone=pod.zone, pool=pod.pool, at=now.timestamp()) for pod in taken),
        silent=tuple(slot for slot in fresh if fates[slot].is_silence),
        memory=replace(memory, told=told | frozenset(fresh.values()), spot_pods=on_spot),
    )
