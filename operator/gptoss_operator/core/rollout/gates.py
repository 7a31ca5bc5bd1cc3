"""The gates that a new replica passes one after the other, before it gets its full share of the requests."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gptoss_operator.api.status import Reason
from gptoss_operator.api.status_rollout import GateResult
from gptoss_runtime.contract import Check, ReplicaState


NOT_ASKED: Final = "not asked: the operator asks no replicas (--scrape-seconds 0)"
UNHEARD: Final = "the replica has not said how it is: see whether the operator reaches port 8081 of its pod"


class GateName(StrEnum):
    """What a gate is about."""

    READY = "Ready"
    """Its server could take requests."""
    DEEP_HEALTH = "DeepHealth"
    """It serves the model, its parameters are intact, its engine makes progress, and there is memory."""
    GOLDEN_PROMPTS = "GoldenPrompts"
    """It answers prompts as it should."""
    CANARY = "Canary"
    """It does not do worse than the others with a share of their requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What one replica has shown at one gate."""

    name: GateName
    result: GateResult
    message: str
    """What was seen."""
    reason: Reason = Reason.UNHEALTHY_REPLICA
    """Why it failed, in a word for programs."""

    @property
    def passed(self) -> bool:
        """Whether it is behind it."""
        return self.result is GateResult.PASSED

    @property
    def failed(self) -> bool:
        """Whether it will not pass."""
        return self.result is GateResult.FAILED


def first_gates(state: ReplicaState | None, *, up: bool, hears: bool) -> tuple[Gate, ...]:
    """Return the gates before a replica gets any request. One is looked at when those before it are passed.

    `state` is what it said a moment ago, None for nothing; `up` whether it could serve; `hears` whether replicas are
    asked at all.
    """
    ready = _gate(GateName.READY, passed=up, message="its server is up" if up else "its server is starting")
    if not up:
        return (ready,)
    if state is None:
        return (ready, _gate(GateName.DEEP_HEALTH, passed=not hears, message=UNHEARD if hears else NOT_ASKED))
    deep = _deep_health(state)
    return (ready, deep, _golden_prompts(state)) if deep.passed else (ready, deep)


def passed_all(gates: tuple[Gate, ...]) -> bool:
    """Return whether all gates are passed that were looked at."""
    return bool(gates) and all(gate.passed for gate in gates)


def _deep_health(state: ReplicaState) -> Gate:
    checks = {name: check for name, check in state.checks.items() if name != Check.GOLDEN_PROMPTS}
    bad = sorted(f"{name}: {check.detail}" for name, check in checks.items() if check.ok is False)
    # Memory may be short for a moment. What else is wrong does not pass.
    lasting = [words for words in bad if not words.startswith(Check.MEMORY_AVAILABLE)]
    if bad:
        result = GateResult.FAILED if lasting else GateResult.PENDING
        return Gate(name=GateName.DEEP_HEALTH, result=result, message="; ".join(bad))
    return _gate(GateName.DEEP_HEALTH, passed=True, message=f"{len(checks)} checks, none of which finds a fault")


def _golden_prompts(state: ReplicaState) -> Gate:
    check = state.checks.get(Check.GOLDEN_PROMPTS)
    if check is None:
        return _gate(GateName.GOLDEN_PROMPTS, passed=True, message="it is asked none")
    if check.ok is None:
        return _gate(GateName.GOLDEN_PROMPTS, passed=False, message=check.detail)
    result = GateResult.PASSED if check.ok else GateResult.FAILED
    return Gate(name=GateName.GOLDEN_PROMPTS, result=result, message=check.detail, reason=Reason.WRONG_ANSWERS)


def _gate(name: GateName, *, passed: bool, message: str) -> Gate:
    return Gate(name=name, result=GateResult.PASSED if passed else GateResult.PENDING, message=message)
