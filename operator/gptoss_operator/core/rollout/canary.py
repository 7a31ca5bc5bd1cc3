"""Whether the first replica of a new revision does worse than the others with a share of the same requests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gptoss_operator.api.rollout import CanarySpec
from gptoss_operator.api.status import Reason
from gptoss_operator.api.status_rollout import GateResult
from gptoss_operator.core.dates import shown_date
from gptoss_operator.core.rollout.gates import Gate, GateName
from gptoss_operator.core.scaling.load import known
from gptoss_runtime.contract import Counter, ReplicaState


COMPARED: Final = (
    Counter.ANSWERS,
    Counter.ANSWERS_FAILED,
    Counter.FIRST_TOKENS,
    Counter.FIRST_TOKEN_SECONDS,
    Counter.FURTHER_TOKENS,
    Counter.FURTHER_TOKEN_SECONDS,
)
PER_CENT: Final = 100
LEAST_FAILURES: Final = 3
"""Fewer requests that fail say nothing of their share."""
JITTER_SECONDS: Final = 0.005
"""Times that differ by less are taken for equal: it is what scheduling on a machine makes of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What a replica had counted when the comparison began, or when it was first heard after that."""

    start_id: str
    counters: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryMemory:
    """A comparison that is under way."""

    uid: str = ""
    """Of the canary's pod. Empty: there is none."""
    since: float = 0.0
    bases: Mapping[str, Base] = field(default_factory=dict)
    """By the pod's uid, of the canary and of those that it is compared with."""
    gained: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """What each has counted since, as far as it was heard; kept over a start of its server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What replicas have counted together since the comparison began."""

    answers: float = 0.0
    failed: float = 0.0
    first_tokens: float = 0.0
    first_token_seconds: float = 0.0
    further_tokens: float = 0.0
    further_token_seconds: float = 0.0

    @property
    def error_percent(self) -> float:
        """Share of the requests that failed, in percent."""
        return PER_CENT * self.failed / self.answers if self.answers else 0.0

    @property
    def first_token(self) -> float:
        """Mean time to the first token, in seconds."""
        return self.first_token_seconds / self.first_tokens if self.first_tokens else 0.0

    @property
    def further_token(self) -> float:
        """Mean time for a further token, in seconds."""
        return self.further_token_seconds / self.further_tokens if self.further_tokens else 0.0


def watch_canary(
    memory: CanaryMemory, uid: str, states: Mapping[str, ReplicaState], others: frozenset[str], now: float
) -> CanaryMemory:
    """Return the memory after one more look at the canary in the pod `uid` and at the `others`.

    A process that has just started knows of no comparison, and begins it anew.
    """
    if memory.uid != uid:
        memory = CanaryMemory(uid=uid, since=now)
    watched = {uid, *others}
    bases = dict(memory.bases)
    gained = dict(memory.gained)
    for name in sorted(watched & states.keys()):
        state = states[name]
        base = bases.get(name)
        if base is not None:
            gained[name] = _added(gained.get(name, {}), base, state)
        bases[name] = Base(start_id=state.start_id, counters=_numbers(state))
    return CanaryMemory(uid=uid, since=memory.since, bases=bases, gained=gained)


def sums_of(memory: CanaryMemory) -> tuple[Sums, Sums]:
    """Return what the canary has counted, and what the others have."""
    own = [gains for uid, gains in memory.gained.items() if uid == memory.uid]
    others = [gains for uid, gains in memory.gained.items() if uid != memory.uid]
    return _sums(own), _sums(others)


def canary_gate(policy: CanarySpec, memory: CanaryMemory, serves_since: float | None, now: float) -> Gate:
    """Return what the canary has shown. It fails as soon as it is clearly worse, and passes when its time is over.

    `serves_since` is since when it serves without a break; None: it does not. Before that nothing counts. A process
    that has just started compares anew, but has it wait no longer than twice its time in all.
    """
    own, others = sums_of(memory)
    worse = _worse(policy, own, others)
    if worse:
        message = f"{worse} ({_told(own)}; the others: {_told(others)})"
        return Gate(name=GateName.CANARY, result=GateResult.FAILED, message=message, reason=Reason.CANARY_WORSE)
    if serves_since is None:
        return Gate(name=GateName.CANARY, result=GateResult.PENDING, message="was let in, and does not serve")
    begun = max(serves_since, min(memory.since, serves_since + policy.hold_seconds))
    ends_at = begun + policy.hold_seconds
    if now < ends_at:
        # Without numbers: they would change with every look.
        message = f"serves {policy.traffic_percent} % of a share and is watched until {shown_date(ends_at)}"
        return Gate(name=GateName.CANARY, result=GateResult.PENDING, message=message)
    few = min(own.answers, others.answers) < policy.min_requests
    words = "too few requests to compare all" if few else "no worse than the others"
    message = f"{words} ({_told(own)}; the others: {_told(others)})"
    return Gate(name=GateName.CANARY, result=GateResult.PASSED, message=message)


def _worse(policy: CanarySpec, own: Sums, others: Sums) -> str:
    """Return in what the canary is clearly worse; empty while it is not."""
    if own.answers < policy.min_requests:
        # A revision that answers nothing well does not need so many to show it.
        hopeless = own.failed >= LEAST_FAILURES and own.failed == own.answers
        return f"all of its {own.failed:.0f} requests failed" if hopeless else ""
    if own.failed >= LEAST_FAILURES and own.error_percent > others.error_percent + policy.max_error_percent:
        return f"{own.error_percent:.1f} % of its requests failed, {others.error_percent:.1f} % of the others'"
    if others.answers < policy.min_requests:
        return ""
    first = 1 + policy.max_first_token_increase_percent / PER_CENT
    further = 1 + policy.max_token_increase_percent / PER_CENT
    if own.first_token > others.first_token * first + JITTER_SECONDS and others.first_tokens:
        return "its first tokens come later"
    if own.further_token > others.further_token * further + JITTER_SECONDS and others.further_tokens:
        return "its further tokens come slower"
    return ""


def _added(gains: Mapping[str, float], base: Base, state: ReplicaState) -> Mapping[str, float]:
    """Return `gains` with what was counted since `base`. A server that has started again counts from zero."""
    before = base.counters if base.start_id == state.start_id else {}
    numbers = _numbers(state)
    return {name: gains.get(name, 0.0) + max(0.0, number - before.get(name, 0.0)) for name, number in numbers.items()}


def _numbers(state: ReplicaState) -> Mapping[str, float]:
    return {name: number for name in COMPARED if (number := known(state.counters.get(name))) is not None}


def _sums(gains: list[Mapping[str, float]]) -> Sums:
    def total(counter: Counter) -> float:
        return sum(each.get(counter, 0.0) for each in gains)

    return Sums(
        answers=total(Counter.ANSWERS),
        failed=total(Counter.ANSWERS_FAILED),
        first_tokens=total(Counter.FIRST_TOKENS),
        first_token_seconds=total(Counter.FIRST_TOKEN_SECONDS),
        further_tokens=total(Counter.FURTHER_TOKENS),
        further_token_seconds=total(Counter.FURTHER_TOKEN_SECONDS),
    )


def _told(sums: Sums) -> str:
    return (
        f"{sums.answers:.0f} requests, {sums.error_percent:.1f} % failed, "
        f"first token {1000 * sums.first_token:.0f} ms, further {1000 * sums.further_token:.1f} ms"
    )
