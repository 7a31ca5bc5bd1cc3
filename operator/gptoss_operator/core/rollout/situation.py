"""What a step of a rollout is decided from, and what it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gptoss_operator.core.placement.decision import Remove
from gptoss_operator.core.placement.places import Place
from gptoss_operator.core.rollout.gates import Gate
from gptoss_operator.core.rollout.members import Member, Trouble
from gptoss_operator.core.rollout.waves import Pace


class Wait(StrEnum):
    """What is waited for that may take its time: no deadline runs meanwhile."""

    NOTHING = "Nothing"
    PAUSE = "Pause"
    WINDOW = "Window"
    WEIGHTS = "Weights"
    CANARY = "Canary"
    LEAVING = "Leaving"
    PLACEMENT = "Placement"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Why nothing is to be replaced at the moment, whatever the replicas are like."""

    wait: Wait
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a step is decided from."""

    goal: str
    """The revision that all replicas are to be of."""
    keep: str
    """The revision that serves now, or served last. Empty: none has yet."""
    trusted: bool = False
    """Whether the goal need show nothing: it has served before, or nothing has."""
    hears: bool = True
    """Whether replicas are asked how they are. If not, none is closed: nobody could tell when to open it."""
    can_keep: bool = True
    """Whether replicas of `keep` can still be made."""
    members: tuple[Member, ...] = ()
    wanted: int = 0
    """Replicas that the placement wants; one that is being replaced and its successor are one of them."""
    least: int = 0
    """Replicas that should serve."""
    creates: int = 0
    """How many of them the placement makes now."""
    moving: bool = False
    """Whether the placement makes or removes any."""
    leaving: int = 0
    """Pods of other revisions that finish their requests on machines that stay, and hold their GPUs until then."""
    grows: bool = False
    """Whether nodes may be added."""
    pace: Pace
    canary: Gate | None = None
    """What the replica with a part of a share has shown. None: there is none."""
    hold: Hold | None = None

    @property
    def new(self) -> list[Member]:
        """Replicas of the goal."""
        return [m for m in self.members if m.revision == self.goal]

    @property
    def old(self) -> list[Member]:
        """All others."""
        return [m for m in self.members if m.revision != self.goal]

    @property
    def proven(self) -> bool:
        """Whether more than one replica may be of the goal."""
        # Where none is asked how it is, all are open from the beginning.
        return self.trusted or any(m.is_open and (self.hears or m.serving) for m in self.new)

    @property
    def housed(self) -> list[Member]:
        """Replicas of the goal but those that the placement seeks machines for."""
        return [m for m in self.new if not m.is_homeless]


@dataclass(frozen=True, slots=True, kw_only=True)
class Successor:
    """A new replica beside the one that leaves for it."""

    place: Place
    replaces: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What shows that the goal is bad."""

    slot: int | None
    """Of the replica that showed it. None: none did, nothing got on."""
    trouble: Trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStep:
    """What is done next, and why."""

    reason: str
    wait: Wait = Wait.NOTHING
    successors: tuple[Successor, ...] = ()
    retires: tuple[Remove, ...] = ()
    shares: Mapping[int, int] = field(default_factory=dict)
    """The share of each replica that is to have another than now, in percent, by slot."""
    of_goal: int = 0
    """How many of the placement's new replicas are of the goal. The others are of the revision that serves now."""
    put_off: int = 0
    """How many of these are not made yet: old replicas have to leave first."""
    failure: Failure | None = None
    """If there is one, nothing else is done."""
    complete: bool = False
    """Whether all replicas are of the goal, and at least one serves."""
