"""One pass: from the user's object and what is seen to everything that is done about it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from gptoss_operator.api.names import COMPONENT_REPLICA, gateway, selector
from gptoss_operator.api.spec import GptOssSpec, served_name
from gptoss_operator.api.status import ConditionType, GptOssStatus, Reason
from gptoss_operator.core.actions import Note, Plan
from gptoss_operator.core.capacity import decide_parallelism, planned_for
from gptoss_operator.core.changes import applies_of, leftovers, replica_deletes, traffic_told
from gptoss_operator.core.checks import check
from gptoss_operator.core.conditions import Finding, answering, assess, dated, refused
from gptoss_operator.core.conditions_rollout import rollout_view
from gptoss_operator.core.conditions_scaling import scaling_findings
from gptoss_operator.core.decisions import Decisions, decide_all
from gptoss_operator.core.fleet import POD_EXPECTED_WITHIN, Action, Step, replicas_of
from gptoss_operator.core.gateways import GatewayView, gateway_view
from gptoss_operator.core.health import PENDING_TOO_LONG, PodState, judge
from gptoss_operator.core.history import keep_history
from gptoss_operator.core.memory import Memory, remembered
from gptoss_operator.core.notes import notes_of, notes_of_dry_run
from gptoss_operator.core.objects import Pod
from gptoss_operator.core.observation import ChildKey, Manifest, Observation
from gptoss_operator.core.parse import parse_spec, parse_status
from gptoss_operator.core.render.machine import Machine, machine_of
from gptoss_operator.core.render.options import RenderOptions
from gptoss_operator.core.render.service import client_url
from gptoss_operator.core.render.statefulset import Berth, replica_set
from gptoss_operator.core.render.weights import cache_claim
from gptoss_operator.core.rollout.history import history_of
from gptoss_operator.core.rollout.situation import Wait
from gptoss_operator.core.scaling.decision import Limit
from gptoss_operator.core.secrets import missing_secrets, tell_of_keys
from gptoss_operator.core.shared import by_key, shared_children
from gptoss_operator.core.summary import counted, reason_of
from gptoss_operator.core.templates import kept_records
from gptoss_operator.core.told import calm, terms_of, told
from gptoss_operator.core.weights import Weights
from gptoss_operator.errors import InvalidSpec


AT_ONCE_SECONDS: Final = 0.1
ROLLING_SECONDS: Final = 2.0
"""How often a rollout is looked at: deadlines and holds end without an event."""
RESTING_SECONDS: Final = 30.0
"""The same of one that waits for a window."""


def make_plan(
    body: dict[str, Any], seen: Observation, options: RenderOptions, now: datetime, memory: Memory | None = None
) -> Plan:
    """Return what to do for one GptOssDeployment.

    `body` is the user's object as it was last seen. A spec that cannot be understood changes nothing but the status:
    what runs goes on running. `memory` is what the plan before this one gave; None: there is none in this process.
    """
    before = parse_status(body)
    try:
        spec = parse_spec(body)
        check(spec, options.prices)
    except InvalidSpec as error:
        return _refuse(str(error), before, seen, now, memory=memory)
    was = before.resolved
    # A status without the digest is of an earlier release, which has accepted the spec.
    accepted = was is not None and was.planned_for in (None, planned_for(spec))
    parallelism = decide_parallelism(spec, was.tensor_parallel if was else None, seen.nodes, accepted=accepted)
    if parallelism.refusal:
        return _refuse(parallelism.refusal, before, seen, now, memory=memory, reason=Reason.DOES_NOT_FIT)
    decisions = decide_all(
        spec, parallelism, before=before, seen=seen, options=options, memory=memory or remembered(before, now), now=now
    )
    return _planned(decisions)


def _planned(d: Decisions) -> Plan:
    """Return what follows from what was decided: what is written, and what is told."""
    seen, before = d.seen, d.before
    history, kept = keep_history(d.spec, seen, d.memory, d.now)
    wanted = {
        **_cache(d.spec, d.weights, seen),
        **shared_children(d.spec, d.resolved, seen, d.options),
        **history,
        # Before the first replica that is made from it.
        **(by_key(d.record) if d.record else {}),
        **_replica_sets(seen, d.steps, d.templates, d.spec),
    }
    gateways = gateway_view(
        wanted[ChildKey("Deployment", gateway(seen.owner.name))], seen.gateway_pods, seen.nodes, d.now
    )
    findings = _findings(d, gateways)
    status, kept = calm(_status(d, findings, gateways.ready), before, kept, d.now)
    listed = [entry.revision for entry in status.history or ()]
    spared = {*wanted, *kept_records(d.rollout.revisions, listed, d.used, seen)}
    applies = tuple(applies_of(wanted, d.steps, seen))
    deletes = (
        *replica_deletes(d.replicas, d.steps),
        *leftovers(spared, d.weights, seen, rolling=d.rollout.is_unsettled),
    )
    annotates = (*traffic_told(d.replicas, d.steps), *tell_of_keys(d.spec.routing, seen))
    plan = Plan(
        applies=applies,
        deletes=deletes,
        annotates=annotates,
        status=status if status != before else None,
        notes=notes_of(seen.owner, d.decided, d.steps, before, status),
        look_again_in_seconds=_look_again(d, gateways),
        reason=reason_of(applies, deletes, annotates, d.steps, findings),
        memory=kept,
        terms=terms_of(d.decided),
        limit=d.decided.scale.limit if d.decided.scale else Limit.NONE,
    )
    if not d.dry_run:
        return plan
    notes, reason = notes_of_dry_run(d.decided, before, status), f"dry run, nothing is changed: {d.decided.reason}"
    return replace(plan, applies=(), deletes=(), annotates=(), notes=notes, reason=reason)


def _findings(d: Decisions, gateways: GatewayView) -> tuple[Finding, ...]:
    """Return the conditions before they are dated."""
    return assess(
        owner=d.seen.owner,
        desired=d.decided.target,
        replicas=d.replicas,
        steps=d.steps,
        gateway=gateways,
        weights=d.weights,
        planned=d.planned,
        problems=(*d.seen.problems.values(), *missing_secrets(d.spec.routing, d.seen)),
        rollout=rollout_view(d.rollout.status, d.rollout.revisions.refused, d.rollout.wait),
        scaling=scaling_findings(d.decided, d.seen.load, dry_run=d.dry_run),
        dry_run=d.dry_run,
    )


def _status(d: Decisions, findings: Sequence[Finding], ready_gateways: int) -> GptOssStatus:
    seen, before, revisions = d.seen, d.before, d.rollout.revisions
    return GptOssStatus(
        observed_generation=seen.owner.generation,
        conditions=dated(findings, before.conditions, seen.owner.generation, d.now),
        url=client_url(seen.owner, d.spec.routing, d.options.cluster_domain),
        served_model=served_name(d.spec, seen.owner.name),
        ready_gateways=ready_gateways,
        selector=",".join(f"{k}={v}" for k, v in selector(seen.owner.name, COMPONENT_REPLICA).items()),
        revision=revisions.wanted,
        current_revision=d.rollout.keep or None,
        rollout=d.rollout.status,
        refused_revision=revisions.refused,
        history=history_of(before, revisions, d.rollout.keep, seen, d.now) or None,
        image=revisions.resolved.image,
        resolved=d.resolved,
        cached_weights=d.weights.remembered or None,
        **counted(seen.owner, d.decided, d.replicas, revisions.wanted, dry_run=d.dry_run),
        **told(d.decided, d.steps, before, d.now, dry_run=d.dry_run),
    )


def _refuse(
    problem: str,
    before: GptOssStatus,
    seen: Observation,
    now: datetime,
    *,
    memory: Memory | None,
    reason: Reason = Reason.INVALID_SPEC,
) -> Plan:
    """Return the plan for a spec that cannot be carried out: say so, and touch nothing.

    What runs goes on running, and the status goes on saying how much of it answers.
    """
    findings = refused(problem, reason)
    counts: dict[str, Any] = {}
    if before.desired_replicas is not None:
        replicas = replicas_of(seen, now)
        ready = sum(r.ready for r in replicas)
        gateways = _ready_pods(seen.gateway_pods, seen, now)
        counts = {
            "replicas": sum(r.exists for r in replicas),
            "ready_replicas": ready,
            "ready": f"{ready}/{before.desired_replicas}",
            "ready_gateways": gateways,
        }
        findings += (answering(seen.owner, before.desired_replicas, replicas, gateways),)
    accepted, *others = dated(findings, before.conditions, seen.owner.generation, now)
    said = {condition.type for condition in (accepted, *others)} | {ConditionType.RECONCILING}
    kept = (condition for condition in before.conditions if condition.type not in said)
    status = before.model_copy(
        update={**counts, "observed_generation": seen.owner.generation, "conditions": (accepted, *kept, *others)}
    )
    known = next((c.message for c in before.conditions if c.type is ConditionType.ACCEPTED), None) == accepted.message
    note = Note(type="Warning", reason=reason, action="Validate", message=problem)
    notes = () if known else (note,)
    return Plan(status=status if status != before else None, notes=notes, reason=problem, memory=memory)


def _cache(spec: GptOssSpec, weights: Weights, seen: Observation) -> dict[ChildKey, Manifest]:
    """Return the claim that the operator makes and the Job that fills it: first, since a fetch takes longest."""
    claim = spec.cache.persistent_volume_claim
    made = (cache_claim(seen.owner, claim),) if claim and not claim.claim_name else ()
    return by_key(*made, *((weights.job,) if weights.job else ()))


def _replica_sets(
    seen: Observation, steps: Sequence[Step], templates: Mapping[str, Manifest], spec: GptOssSpec
) -> dict[ChildKey, Manifest]:
    made = [step for step in steps if step.action in (Action.CREATE, Action.KEEP)]
    machines = {place: machine_of(place, spec) for place in {step.place for step in made}}
    return by_key(*(replica_set(seen.owner, templates[s.revision], _berth(s, machines[s.place])) for s in made))


def _berth(step: Step, machine: Machine) -> Berth:
    return Berth(slot=step.slot, revision=step.revision, machine=machine, share=step.share, replaces=step.replaces)


def _ready_pods(pods: Sequence[Pod], seen: Observation, now: datetime) -> int:
    return sum(judge(pod, seen.nodes, now).state is PodState.READY for pod in pods)


def _look_again(d: Decisions, gateways: GatewayView) -> float | None:
    """Return when something has to be looked at without an event; None: when there is one."""
    times = (_look_at_replicas(d), gateways.next_closes_in_seconds)
    return min((seconds for seconds in times if seconds is not None), default=None)


def _look_at_replicas(d: Decisions) -> float | None:
    """Return when a rollout has to be looked at, or a pod that does not come becomes a problem."""
    if d.rollout.refused_now:
        return AT_ONCE_SECONDS
    if d.rollout.status is not None:
        return RESTING_SECONDS if d.rollout.wait in (Wait.PAUSE, Wait.WINDOW) else ROLLING_SECONDS
    if any(replica.exists and replica.pod is None for replica in d.replicas):
        return POD_EXPECTED_WITHIN.total_seconds() + 1
    fetching = (judge(pod, d.seen.nodes, d.now) for pod in d.seen.weights_pods)
    if any(judgement.state is PodState.PENDING for judgement in (*(r.judgement for r in d.replicas), *fetching)):
        return PENDING_TOO_LONG.total_seconds() + 1
    return None
