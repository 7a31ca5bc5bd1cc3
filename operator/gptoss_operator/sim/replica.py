"""One replica: where it is, how far it is, and what it costs."""

from gptoss_operator.core.placement.places import CapacityType, Place, PlacedReplica, Stage
from gptoss_operator.sim.batch import Batch
from gptoss_operator.sim.contract import ReplicaModel
from gptoss_operator.sim.luck import Launch


class Replica:
    """One replica, from the order to create it to the end of its machine. Times in seconds."""

    __slots__ = (
        "at_gateway",
        "batch",
        "billed",
        "created_at",
        "drawn",
        "ends_at",
        "gone",
        "granted_at",
        "place",
        "ready_at",
        "reserved_at",
        "since",
        "slot",
        "stage",
        "taken",
        "tokens_before",
        "zone",
    )

    def __init__(self, slot: int, place: Place, now: float, *, drawn: Launch, model: ReplicaModel) -> None:
        self.slot = slot
        self.place = place
        self.zone = place.zone
        self.drawn = drawn
        self.batch = Batch(model)
        self.stage = Stage.PENDING
        self.created_at = now
        self.since = now
        self.reserved_at: float | None = None
        """Since when it has a machine, or one that is on its way."""
        self.granted_at: float | None = None
        """Since when its machine is paid for."""
        self.ready_at: float | None = None
        self.taken = False
        """Whether the cloud has decided to take its machine, told or not."""
        self.ends_at: float | None = None
        """When its machine goes, once the cloud has said so or it is about to."""
        self.at_gateway = False
        """Whether gateways know it: it takes requests, or finishes some."""
        self.billed = False
        self.gone = False
        self.tokens_before = 0.0
        """Tokens it had generated at the last view."""

    @property
    def is_spot(self) -> bool:
        """Return whether it is meant for a spot machine."""
        return self.place.capacity is CapacityType.SPOT

    def is_dead(self, now: float) -> bool:
        """Return whether its machine is gone, known or not."""
        return self.ends_at is not None and self.ends_at <= now

    def enter(self, stage: Stage, now: float) -> None:
        """Come into `stage`."""
        self.stage = stage
        self.since = now

    def placed(self, in_flight: float | None, epoch: float) -> PlacedReplica:
        """Return what a policy sees of it, with times since `epoch` seconds before the simulation's beginning."""
        return PlacedReplica(
            slot=self.slot,
            place=self.place,
            zone=self.zone,
            stage=self.stage,
            created_at=epoch + self.created_at,
            since=epoch + self.since,
            in_flight=in_flight,
        )
