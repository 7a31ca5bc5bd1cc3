"""The replicas as a rollout sees them: of which revision, how far let in, and what they have shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gptoss_operator.api.names import REPLICA_CONTAINER
from gptoss_operator.api.status import Reason
from gptoss_operator.core.fate import Fate
from gptoss_operator.core.fleet import Replica, replaced_by
from gptoss_operator.core.health import PodState, condition_since, holds
from gptoss_operator.core.observation import Observation
from gptoss_operator.core.placement.places import ANYWHERE, Place
from gptoss_operator.core.rollout.gates import Gate, GateName, first_gates
from gptoss_operator.core.scaling.load import known
from gptoss_runtime.contract import OPEN_SHARE, ExitCode, Phase


ENDS_ALLOWED: Final = 2
"""How often the server of a new replica may end before that counts against its revision: a fetch may break off."""


class Machine(StrEnum):
    """Whether a replica has a machine."""

    HAS = "has"
    WAITS = "waits"
    """The scheduler has not found one yet."""
    SHORT = "short"
    """The scheduler says that no node has the GPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What tells against the revision of a replica."""

    reason: Reason
    message: str
    gate: GateName | None = None
    """The gate that it does not pass. None: it is seen otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One replica that exists and stays, as far as the placement is concerned."""

    slot: int
    revision: str
    place: Place = ANYWHERE
    replaces: int | None = None
    """Slot of the replica that leaves for this one, while both exist. None: it replaces none, or that one is gone."""
    share: int = OPEN_SHARE
    """Requests that it is granted, in percent of a full share. Zero: it is closed."""
    machine: Machine = Machine.HAS
    since: float = 0.0
    """When it was created; of one that serves, since when it does."""
    up: bool = False
    """Whether it could serve."""
    serving: bool = False
    """Whether it serves, be it a share."""
    fated: bool = False
    """Whether its machine goes or is gone. That is not its revision's fault."""
    words: str = ""
    """What is thought of it, for people."""
    uid: str = ""
    """Of its pod. Empty: it has none."""
    failing: bool = False
    """Whether it will not serve unless something changes."""
    gates: tuple[Gate, ...] = ()
    """What it has shown before it may get requests."""
    trouble: Trouble | None = None
    in_flight: float | None = None
    """Requests that it has. None: not known."""

    @property
    def is_open(self) -> bool:
        """Whether it gets its full share."""
        return self.share >= OPEN_SHARE

    @property
    def is_homeless(self) -> bool:
        """Whether the placement seeks a machine for it, or has made up for the one that it lost."""
        return self.replaces is None and (self.waits or self.fated)

    @property
    def waits(self) -> bool:
        """Whether it has no machine yet."""
        return self.machine is not Machine.HAS


def members_of(
    replicas: Sequence[Replica], fates: Mapping[int, Fate], seen: Observation, removed: Sequence[int]
) -> tuple[Member, ...]:
    """Return the replicas that stay, in the order of slots. Those in slots `removed` leave for other reasons."""
    staying = [r for r in replicas if r.exists and r.slot not in removed]
    replaced = replaced_by(staying)
    return tuple(_member(r, fates.get(r.slot), seen, replaced.get(r.slot)) for r in staying)


def _member(replica: Replica, fate: Fate | None, seen: Observation, replaces: int | None) -> Member:
    pod = replica.pod
    state = seen.replica_states.get(pod.metadata.uid) if pod else None
    up = replica.ready or (state is not None and state.phase is Phase.WAITING)
    load = seen.load.replicas.get(replica.slot)
    created = replica.workload.object.metadata.creation_timestamp if replica.workload else None
    since = condition_since(pod, "Ready") if pod and replica.ready else created
    gates = first_gates(state, up=up, hears=seen.hears_replicas)
    return Member(
        slot=replica.slot,
        revision=replica.revision,
        place=replica.place,
        replaces=replaces,
        share=replica.share,
        machine=_machine(replica),
        since=since.timestamp() if since else 0.0,
        up=up,
        serving=replica.ready and fate is None,
        fated=fate is not None,
        words=replica.judgement.message,
        uid=pod.metadata.uid if pod else "",
        failing=replica.judgement.state is PodState.FAILING,
        gates=gates,
        trouble=None if fate else _trouble(replica, gates),
        in_flight=known(load.in_flight) if load else None,
    )


def _machine(replica: Replica) -> Machine:
    pod = replica.pod
    if pod is not None and (pod.spec.node_name or holds(pod, "PodScheduled")):
        return Machine.HAS
    return Machine.SHORT if replica.judgement.reason is Reason.INSUFFICIENT_GPU else Machine.WAITS


def _trouble(replica: Replica, gates: Sequence[Gate]) -> Trouble | None:
    """Return what tells against the revision, and not only against this pod or its machine."""
    judgement = replica.judgement
    if judgement.reason is Reason.SERVER_REFUSED_ORDERS:
        return Trouble(reason=judgement.reason, message=judgement.message)
    ends, died = _ends(replica)
    # One that was let in may have met a bad request, or bad hardware. Before, there is no such excuse.
    if ends > (0 if died and replica.share < OPEN_SHARE else ENDS_ALLOWED - died):
        times = "once" if ends == 1 else f"{ends} times"
        return Trouble(reason=judgement.reason, message=f"its server ended {times}: {judgement.message}")
    if replica.share >= OPEN_SHARE:
        return None
    if judgement.reason is Reason.UNHEALTHY_REPLICA:
        return Trouble(reason=judgement.reason, message=judgement.message)
    failed = next((gate for gate in gates if gate.failed), None)
    return Trouble(reason=failed.reason, message=failed.message, gate=failed.name) if failed else None


def _ends(replica: Replica) -> tuple[int, bool]:
    """Return how often its server has ended, and whether the last time was after it had been ready."""
    statuses = replica.pod.status.container_statuses if replica.pod else ()
    for status in statuses:
        if status.name == REPLICA_CONTAINER:
            ended = status.state.terminated or status.last_state.terminated
            ends = status.restart_count + (status.state.terminated is not None)
            return (max(ends, 1) if ended else ends), bool(ended and ended.exit_code == ExitCode.ENGINE_DIED)
    return 0, False
