"""What most policies do with a number: create what is missing, remove what is too much."""

from collections.abc import Iterable, Sequence
from typing import Final

from gptoss_operator.core.placement.places import STAYING, CapacityType, Place, PlacedReplica, Stage
from gptoss_operator.core.scaling.load import Load, known
from gptoss_operator.sim.contract import Orders, View


ON_DEMAND: Final = Place(capacity=CapacityType.ON_DEMAND)
VICTIMS: Final = (Stage.FAILING, Stage.PENDING, Stage.STARTING, Stage.READY)
"""In which order a ReplicaSet and SkyServe remove: the farther from ready, the earlier."""


def staying(view: View) -> list[PlacedReplica]:
    """Return the replicas that exist and are not about to go."""
    return [replica for replica in view.replicas if replica.stage in STAYING]


def ready(replicas: Iterable[PlacedReplica]) -> int:
    """Return how many of `replicas` are ready."""
    return sum(replica.stage is Stage.READY for replica in replicas)


def on_spot(replica: PlacedReplica) -> bool:
    """Return whether a replica was asked for on a spot machine."""
    return replica.place.capacity is CapacityType.SPOT


def victims(replicas: Sequence[PlacedReplica], count: int) -> tuple[int, ...]:
    """Return the slots of the `count` first ones to go: not ready before ready, then the newest first."""
    if count <= 0:
        return ()
    ordered = sorted(replicas, key=lambda replica: (VICTIMS.index(replica.stage), -replica.created_at, -replica.slot))
    return tuple(replica.slot for replica in ordered[:count])


def resized(view: View, target: int) -> Orders:
    """Return the orders that lead to `target` on-demand replicas."""
    existing = staying(view)
    missing = max(0, target - len(existing))
    return Orders(creates=(ON_DEMAND,) * missing, removes=victims(existing, len(existing) - target), target=target)


def waiting(load: Load) -> float | None:
    """Return the requests that wait at gateways and in replicas' own queues, None where the gateways' are not known."""
    queued, held = known(load.queued), known(load.held)
    if queued is None or held is None:
        return None
    return queued + held + sum(known(replica.waiting) or 0.0 for replica in load.replicas.values())


def active(load: Load) -> float | None:
    """Return the requests that have come and are not answered to the end, None where that is not known."""
    queued, held, running = known(load.queued), known(load.held), known(load.in_flight)
    return None if queued is None or held is None or running is None else queued + held + running
