"""In which steps a rollout goes on. A step is a wave of new replicas; the next one begins when it has come to serve."""

from dataclasses import dataclass

from gptoss_operator.api.rollout import Strategy
from gptoss_operator.core.rollout.policy import RolloutPolicy
from gptoss_operator.core.rollout.room import Room


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How replicas are replaced from here on."""

    strategy: Strategy
    """Surge, Replace or BlueGreen."""
    surge: int
    """New replicas of a wave beside the old ones that they replace."""
    unavailable: int
    """New replicas of a wave for which old ones leave before."""
    reason: str
    """Why so."""

    @property
    def wave(self) -> int:
        """New replicas of a wave."""
        return self.surge + self.unavailable


def choose_pace(policy: RolloutPolicy, room: Room, replicas: int) -> Pace:
    """Return how `replicas` are to be replaced, with the room of now. It may be another one at the next wave."""
    match policy.strategy:
        case Strategy.SURGE:
            return _surge(policy, policy.surge, "spec.rollout.strategy is Surge")
        case Strategy.REPLACE:
            return _replace(policy, "spec.rollout.strategy is Replace")
        case Strategy.BLUE_GREEN:
            reason = "spec.rollout.strategy is BlueGreen"
            return Pace(strategy=Strategy.BLUE_GREEN, surge=max(1, replicas), unavailable=0, reason=reason)
        case Strategy.AUTO:
            return _auto(policy, room)


def sizes_of(replicas: int, wave: int, first: int) -> tuple[int, ...]:
    """Return how many new replicas there are after each step: the first wave has `first`, the others `wave`."""
    sizes = [min(first, replicas)] if replicas else []
    while sizes and sizes[-1] < replicas:
        sizes.append(min(replicas, sizes[-1] + max(1, wave)))
    return tuple(sizes)


def _auto(policy: RolloutPolicy, room: Room) -> Pace:
    if room.replicas is None or room.grows:
        return _surge(policy, policy.surge, room.words)
    return _surge(policy, min(policy.surge, room.replicas), room.words)


def _surge(policy: RolloutPolicy, surge: int, reason: str) -> Pace:
    """Return the pace with so many replicas beside the others. With none, others leave first."""
    if surge == 0:
        return _replace(policy, reason if policy.surge else f"{reason}, and maxSurge is 0")
    return Pace(strategy=Strategy.SURGE, surge=surge, unavailable=policy.unavailable, reason=reason)


def _replace(policy: RolloutPolicy, reason: str) -> Pace:
    return Pace(strategy=Strategy.REPLACE, surge=0, unavailable=max(1, policy.unavailable), reason=reason)
