"""The conditions of a GptOssDeployment, from what is seen and what is about to be done."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from gptoss_operator.api.names import replica
from gptoss_operator.api.status import Condition, ConditionType, Reason
from gptoss_operator.core.fleet import Action, Replica, Step
from gptoss_operator.core.gateways import GatewayView
from gptoss_operator.core.health import PodState
from gptoss_operator.core.observation import Owner, Problem
from gptoss_operator.core.weights import Stage, Weights


MESSAGE_LENGTH = 1024
ASLEEP = "no replica is needed: the gateways hold the next request until one has started"
STALLING = frozenset({Reason.INVALID_SPEC, Reason.NAME_TAKEN, Reason.REFUSED_BY_CLUSTER, Reason.SERVER_REFUSED_ORDERS})
"""Problems that no waiting heals."""
BESIDE = (Reason.SECRET_NOT_FOUND, Reason.KIND_NOT_INSTALLED)
"""Problems of what the spec refers to, and not of the spec: it is accepted, and goes on when that is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One condition before it is dated."""

    type: ConditionType
    holds: bool
    reason: Reason
    message: str


NOTHING_WRONG = Finding(
    type=ConditionType.DEGRADED, holds=False, reason=Reason.AS_EXPECTED, message="nothing is known to be wrong"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutView:
    """What is found of revisions. None: nothing that goes before what is found otherwise."""

    progressing: Finding | None = None
    degraded: Finding | None = None
    """The revision that the spec asks for has failed. Nothing goes on until the spec is changed."""


def refused(problem: str, reason: Reason = Reason.INVALID_SPEC) -> tuple[Finding, ...]:
    """Return the conditions of an object whose spec cannot be carried out. What runs goes on running."""
    return (
        Finding(type=ConditionType.ACCEPTED, holds=False, reason=reason, message=problem),
        Finding(type=ConditionType.STALLED, holds=True, reason=reason, message=problem),
    )


def answering(owner: Owner, desired: int, replicas: Sequence[Replica], ready_gateways: int) -> Finding:
    """Return whether what runs answers requests, whatever the spec says now."""
    return _available(owner, desired, replicas, ready_gateways, NOTHING_WRONG)


def assess(
    *,
    owner: Owner,
    desired: int,
    replicas: Sequence[Replica],
    steps: Sequence[Step],
    gateway: GatewayView,
    weights: Weights,
    planned: str,
    problems: Sequence[Problem],
    rollout: RolloutView,
    scaling: Sequence[Finding] = (),
    dry_run: bool = False,
) -> tuple[Finding, ...]:
    """Return the conditions of an object whose spec is understood.

    `planned` says how it is carried out, `rollout` what is found of revisions, `scaling` what is found of the load and
    of machines.
    """
    # Children of a deleted object of the same name are in the way for a moment only.
    passing = [problem for problem in problems if problem.reason is Reason.EARLIER_BEING_REMOVED]
    problems = [problem for problem in problems if problem not in passing]
    accepted = _accepted(planned, [problem for problem in problems if problem.reason not in BESIDE])
    degraded = rollout.degraded or _degraded(owner, replicas, gateway, weights, problems)
    progressing = (
        _waiting_for(passing)
        or (None if rollout.degraded else _fetching(weights))
        or rollout.progressing
        or _progressing(owner, replicas, steps, gateway)
    )
    if dry_run:
        progressing = _dry(progressing)
    follows_load = any(finding.type is ConditionType.SCALING_ACTIVE for finding in scaling)
    available = _available(owner, desired, replicas, gateway.ready, degraded, follows_load=follows_load)
    stalled = not accepted.holds or (degraded.reason in STALLING and not any(r.ready for r in replicas))
    stalled = stalled or weights.stage is Stage.FAILED or rollout.degraded is not None
    kstatus: tuple[Finding, ...] = ()
    if stalled:
        why = degraded if accepted.holds else accepted
        kstatus = (Finding(type=ConditionType.STALLED, holds=True, reason=why.reason, message=why.message),)
    elif progressing.holds:
        reason, message = progressing.reason, progressing.message
        kstatus = (Finding(type=ConditionType.RECONCILING, holds=True, reason=reason, message=message),)
    return (accepted, available, progressing, degraded, *scaling, *_cached(weights), *kstatus)


def dated(
    findings: Iterable[Finding], before: Sequence[Condition], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Return `findings` as conditions; one whose status is as before keeps its time."""
    known = {condition.type: condition for condition in before}
    return tuple(_dated(finding, known.get(finding.type), generation, now) for finding in findings)


def _dated(finding: Finding, before: Condition | None, generation: int, now: datetime) -> Condition:
    status: Literal["True", "False"] = "True" if finding.holds else "False"
    since = before.last_transition_time if before and before.status == status else f"{now:%Y-%m-%dT%H:%M:%SZ}"
    return Condition(
        type=finding.type,
        status=status,
        reason=finding.reason,
        message=finding.message[:MESSAGE_LENGTH],
        last_transition_time=since,
        observed_generation=generation,
    )


def _accepted(planned: str, problems: Sequence[Problem]) -> Finding:
    if not problems:
        message = f"the spec can be carried out; {planned}"
        return Finding(type=ConditionType.ACCEPTED, holds=True, reason=Reason.VALID, message=message)
    message = "; ".join(sorted(problem.message for problem in problems))
    return Finding(type=ConditionType.ACCEPTED, holds=False, reason=problems[0].reason, message=message)


def _available(
    owner: Owner,
    desired: int,
    replicas: Sequence[Replica],
    ready_gateways: int,
    degraded: Finding,
    *,
    follows_load: bool = False,
) -> Finding:
    """Return whether requests are answered. If not, the reason is what is wrong, as far as it is known."""
    ready = [replica(owner.name, r.slot) for r in replicas if r.ready]
    if desired == 0 and not ready:
        return _not_available(Reason.SCALED_TO_ZERO, ASLEEP if follows_load else "no replicas are asked for")
    if ready and ready_gateways:
        message = f"{len(ready)} of {desired} replicas answer, through {ready_gateways} gateway pods"
        return Finding(type=ConditionType.AVAILABLE, holds=True, reason=Reason.REPLICAS_READY, message=message)
    if degraded.holds:
        return _not_available(degraded.reason, degraded.message)
    if not ready:
        return _not_available(Reason.NO_REPLICA_READY, "no replica is ready yet")
    return _not_available(Reason.NO_GATEWAY_READY, "no gateway pod is ready yet")


def _not_available(reason: Reason, message: str) -> Finding:
    return Finding(type=ConditionType.AVAILABLE, holds=False, reason=reason, message=message)


def _progressing(owner: Owner, replicas: Sequence[Replica], steps: Sequence[Step], gateway: GatewayView) -> Finding:
    """Return whether anything is on its way, and what: removal, start, gateway, in this order."""
    leaving = [s.slot for s in steps if s.action is Action.REMOVE]
    leaving += [r.slot for r in replicas if r.judgement.state is PodState.LEAVING and not r.exists]
    starting = {r.slot: r.judgement for r in replicas if r.exists and not r.ready}
    created = [s.slot for s in steps if s.action is Action.CREATE]
    if created or starting:
        waits = {**dict.fromkeys(created, "being created"), **{s: j.message for s, j in starting.items()}}
        reasons = {j.reason for j in starting.values() if j.state in (PodState.PENDING, PodState.DRAINING)}
        return _on_the_way(min(reasons, default=Reason.REPLICAS_STARTING), _each(owner, waits))
    if leaving:
        return _on_the_way(Reason.REPLICAS_REMOVED, _each(owner, dict.fromkeys(leaving, "finishes its requests")))
    if gateway.ready < gateway.desired:
        message = f"{gateway.ready} of {gateway.desired} gateway pods are ready"
        return _on_the_way(Reason.GATEWAY_STARTING, message)
    if gateway.earlier:
        pods = "1 gateway pod" if gateway.earlier == 1 else f"{gateway.earlier} gateway pods"
        message = f"new requests may still reach {pods} of an earlier configuration"
        return _on_the_way(Reason.GATEWAY_ROLLING, message)
    return Finding(
        type=ConditionType.PROGRESSING, holds=False, reason=Reason.SETTLED, message="everything is as the spec asks"
    )


def _cached(weights: Weights) -> Iterable[Finding]:
    """Yield whether the weights are in the cache's claim, where a Job brings them there."""
    reasons = {
        Stage.CACHED: Reason.WEIGHTS_CACHED,
        Stage.FETCHING: Reason.WEIGHTS_FETCHING,
        Stage.FAILED: Reason.WEIGHTS_FETCH_FAILED,
    }
    if reason := reasons.get(weights.stage):
        holds = weights.stage is Stage.CACHED
        yield Finding(type=ConditionType.MODEL_CACHED, holds=holds, reason=reason, message=weights.message)


def _fetching(weights: Weights) -> Finding | None:
    """Return that replicas wait for their weights, or that they wait in vain."""
    if weights.stage is Stage.FETCHING:
        return _on_the_way(Reason.WEIGHTS_FETCHING, weights.message)
    if weights.stage is Stage.FAILED:
        reason, message = Reason.WEIGHTS_FETCH_FAILED, weights.message
        return Finding(type=ConditionType.PROGRESSING, holds=False, reason=reason, message=message)
    return None


def _waiting_for(passing: Sequence[Problem]) -> Finding | None:
    """Return what is waited for before anything else can be done."""
    if not passing:
        return None
    return _on_the_way(passing[0].reason, "; ".join(sorted(problem.message for problem in passing)))


def _dry(progressing: Finding) -> Finding:
    """Return that nothing is done, and what would be."""
    would = f"; it would be: {progressing.message}" if progressing.holds else ""
    message = f"spec.mode DryRun: what is decided is in status.lastDecision, and nothing is changed{would}"
    return Finding(type=ConditionType.PROGRESSING, holds=False, reason=Reason.DRY_RUN, message=message)


def _on_the_way(reason: Reason, message: str) -> Finding:
    return Finding(type=ConditionType.PROGRESSING, holds=True, reason=reason, message=message)


def _degraded(
    owner: Owner, replicas: Sequence[Replica], gateway: GatewayView, weights: Weights, problems: Sequence[Problem]
) -> Finding:
    """Return what is wrong: a refused object, failing replicas, unhealthy ones, their weights, the gateway, the rest.

    A missing Secret goes before the gateway, which may fail because of it.
    """
    refusals = [problem for problem in problems if problem.reason not in BESIDE]
    secrets, kinds = ([problem for problem in problems if problem.reason is reason] for reason in BESIDE)
    candidates = (
        _problems(refusals),
        _failing(owner, replicas),
        _unhealthy(owner, replicas),
        weights.trouble and _wrong(weights.trouble.reason, weights.trouble.message),
        _problems(secrets),
        gateway.trouble and _wrong(Reason.GATEWAY_FAILED, f"gateway: {gateway.trouble.message}"),
        _problems(kinds),
    )
    return next((found for found in candidates if found), NOTHING_WRONG)


def _failing(owner: Owner, replicas: Sequence[Replica]) -> Finding | None:
    failing = {r.slot: r.judgement for r in replicas if r.exists and r.judgement.state is PodState.FAILING}
    if not failing:
        return None
    return _wrong(failing[min(failing)].reason, _each(owner, {slot: j.message for slot, j in failing.items()}))


def _unhealthy(owner: Owner, replicas: Sequence[Replica]) -> Finding | None:
    """Return what the deep health reports of replicas that answer find wrong."""
    concerns = {r.slot: r.judgement.concern for r in replicas if r.ready and r.judgement.concern}
    return _wrong(Reason.UNHEALTHY_REPLICA, _each(owner, concerns)) if concerns else None


def _problems(problems: Sequence[Problem]) -> Finding | None:
    if not problems:
        return None
    return _wrong(problems[0].reason, "; ".join(sorted(problem.message for problem in problems)))


def _wrong(reason: Reason, message: str) -> Finding:
    return Finding(type=ConditionType.DEGRADED, holds=True, reason=reason, message=message)


def _each(owner: Owner, messages: dict[int, str]) -> str:
    """Return the messages, each once, with the replicas that it is about."""
    slots: dict[str, list[int]] = {}
    for slot, message in sorted(messages.items()):
        slots.setdefault(message, []).append(slot)
    return "; ".join(
        f"{', '.join(replica(owner.name, slot) for slot in about)}: {message}" for message, about in slots.items()
    )
