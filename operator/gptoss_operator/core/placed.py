"""The replicas as the decisions on number and places see them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.api.status import Reason
from gptoss_operator.core.fate import Fate, fate_of, is_at_risk
from gptoss_operator.core.fleet import Replica
from gptoss_operator.core.health import PodState, condition_since
from gptoss_operator.core.objects import Pod
from gptoss_operator.core.observation import Observation
from gptoss_operator.core.placement.node_facts import capacity_of, pool_of, zone_of
from gptoss_operator.core.placement.places import CapacityType, Place, PlacedReplica, Stage
from gptoss_operator.core.scaling.load import known


WAITS_FOR_A_PERSON: Final = (Reason.VOLUME_NOT_FOUND, Reason.POD_NOT_CREATED)
"""Why a pod has no machine although there may be enough: another machine would not help."""


def fates_of(replicas: Sequence[Replica], seen: Observation, spec: GptOssSpec, now: datetime) -> Mapping[int, Fate]:
    """Return why replicas that exist are no supply any more, by slot."""
    found = ((r.slot, fate_of(r, seen, spec.spot, now)) for r in replicas if r.exists)
    return {slot: fate for slot, fate in found if fate is not None}


def placed_replicas(
    replicas: Sequence[Replica], fates: Mapping[int, Fate], seen: Observation, spec: GptOssSpec, now: datetime
) -> tuple[PlacedReplica, ...]:
    """Return the replicas that exist, in the order of slots. One whose StatefulSet is deleted only finishes."""
    return tuple(_placed(r, fates.get(r.slot), seen, spec, now) for r in replicas if r.exists)


def priced_places(
    placed: Sequence[PlacedReplica], replicas: Sequence[Replica], seen: Observation, spec: GptOssSpec
) -> tuple[Place, ...]:
    """Return where replicas are paid for: the places that were chosen, else what their nodes are.

    One without a machine costs nothing yet. One that finishes its requests costs as before.
    """
    pods = {r.slot: r.pod for r in replicas if r.pod is not None and r.pod.spec.node_name}
    return tuple(_priced(r, pods[r.slot], seen, spec) for r in placed if r.slot in pods)


def _priced(replica: PlacedReplica, pod: Pod, seen: Observation, spec: GptOssSpec) -> Place:
    node = seen.nodes.get(pod.spec.node_name)
    labels = node.metadata.labels if node else {}
    chosen = replica.place
    capacity = capacity_of(labels, spec.spot.labels) if chosen.capacity is CapacityType.ANY else chosen.capacity
    return Place(capacity=capacity, zone=replica.zone, pool=chosen.pool or pool_of(labels, spec.gpu.pools))


def _placed(replica: Replica, fate: Fate | None, seen: Observation, spec: GptOssSpec, now: datetime) -> PlacedReplica:
    pod = replica.pod
    node = seen.nodes.get(pod.spec.node_name) if pod else None
    load = seen.load.replicas.get(replica.slot)
    created = replica.workload.object.metadata.creation_timestamp if replica.workload else None
    created_at = (created or now).timestamp()
    stage, since = (fate.stage, fate.since) if fate else _stage(replica)
    return PlacedReplica(
        slot=replica.slot,
        place=replica.place,
        zone=(zone_of(node.metadata.labels) if node else "") or replica.place.zone,
        stage=stage,
        created_at=created_at,
        since=max(created_at, since.timestamp()) if since else created_at,
        in_flight=known(load.in_flight) if load else None,
        at_risk=is_at_risk(replica, seen, spec.spot),
    )


def _stage(replica: Replica) -> tuple[Stage, datetime | None]:
    """Return how far a replica is that nothing is known against, and since when."""
    pod, judgement = replica.pod, replica.judgement
    failing = judgement.state is PodState.FAILING
    if pod is None or _waits(pod):
        in_vain = failing and judgement.reason in WAITS_FOR_A_PERSON
        return Stage.FAILING if in_vain else Stage.PENDING, pod.metadata.creation_timestamp if pod else None
    if replica.ready:
        return Stage.READY, condition_since(pod, "Ready")
    if failing:
        return Stage.FAILING, None
    return Stage.STARTING, condition_since(pod, "PodScheduled")


def _waits(pod: Pod) -> bool:
    """Return whether the scheduler has found no machine for it."""
    return not pod.spec.node_name and any(
        c.type == "PodScheduled" and c.status != "True" for c in pod.status.conditions
    )
