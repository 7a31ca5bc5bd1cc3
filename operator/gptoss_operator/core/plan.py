"""One pass: from the user's object and what is seen to everything that is done about it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from gptoss_operator.api.names import COMPONENT_REPLICA, selector
from gptoss_operator.api.spec import GptOssSpec, gpus_of_replica, served_name
from gptoss_operator.api.status import ConditionType, GptOssStatus, Reason
from gptoss_operator.core.actions import Note, Plan
from gptoss_operator.core.capacity import decide_parallelism, planned_for
from gptoss_operator.core.changes import applies_of, leftovers, replica_deletes, traffic_told
from gptoss_operator.core.checks import check
from gptoss_operator.core.conditions import GatewayView, answering, assess, dated, refused
from gptoss_operator.core.conditions_rollout import rollout_view
from gptoss_operator.core.conditions_scaling import scaling_findings
from gptoss_operator.core.decide import decide
from gptoss_operator.core.fleet import (
    POD_EXPECTED_WITHIN,
    Action,
    Replica,
    Step,
    decide_fleet,
    held,
    replicas_of,
)
from gptoss_operator.core.health import PENDING_TOO_LONG, PodState, judge
from gptoss_operator.core.history import keep_history, recall_week
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
from gptoss_operator.core.rollout.progress import is_rolling
from gptoss_operator.core.rollout.revisions import find_revisions, resolved_defaults
from gptoss_operator.core.rollout.rollout import Rollout, Scene, decide_rollout
from gptoss_operator.core.rollout.situation import Wait
from gptoss_operator.core.scaling.decision import Limit
from gptoss_operator.core.secrets import missing_secrets, tell_of_keys
from gptoss_operator.core.shared import by_key, shared_children
from gptoss_operator.core.summary import counted, reason_of
from gptoss_operator.core.templates import find_templates, kept_records, with_defaults
from gptoss_operator.core.told import calm, terms_of, told
from gptoss_operator.core.weights import Weights, decide_weights
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
    replicas = replicas_of(seen, now)
    revisions = find_revisions(
        spec,
        before=before,
        seen=seen,
        replicas=replicas,
        tensor_parallel=parallelism.tensor_parallel,
        options=options,
    )
    served = with_defaults(spec, revisions.resolved)
    used = {r.revision for r in replicas if r.exists}
    templates = find_templates(served, revisions, used, seen, options)
    gpus = gpus_of_replica(spec, parallelism.tensor_parallel)
    known_memory = recall_week(memory or remembered(before, now), seen)
    decided = decide(
        spec,
        seen=seen,
        replicas=replicas,
        goal=revisions.goal,
        rolling=is_rolling(before.rollout, used - {revisions.goal}),
        gpus=gpus,
        options=options,
        before=before,
        memory=known_memory,
        now=now,
    )
    image = revisions.resolved.image
    weights = decide_weights(served, image, before=before, seen=seen, options=options, now=now)
    scene = Scene(
        spec=spec,
        seen=seen,
        replicas=replicas,
        decided=decided,
        weights=weights,
        before=before,
        gpus=gpus,
        canary=known_memory.canary,
        now=now,
    )
    rollout = decide_rollout(scene, revisions)
    revisions = rollout.revisions
    steps = decide_fleet(rollout.creates, rollout.removes, replicas, rollout.shares)
    usable = templates.without(revisions.wanted) if weights.hold_back else templates.by_revision
    steps = held(steps, usable)
    dry_run = spec.mode == "DryRun"
    history, kept = keep_history(spec, seen, decided.memory, now)
    kept = replace(kept, canary=rollout.memory)
    known = not parallelism.guessed or any(r.ready for r in replicas)
    resolved = resolved_defaults(
        spec,
        before,
        revisions.resolved,
        options,
        tensor_parallel=parallelism.tensor_parallel if known else None,
        planned_for=planned_for(spec),
    )
    wanted = {
        **_cache(spec, weights, seen),
        **shared_children(spec, resolved, seen, options),
        **history,
        # Before the first replica that is made from it.
        **(by_key(templates.record) if templates.record else {}),
        **_replica_sets(seen, steps, usable, spec),
    }
    gateways = _gateway_view(spec, seen, now)
    findings = assess(
        owner=seen.owner,
        desired=decided.target,
        replicas=replicas,
        steps=steps,
        gateway=gateways,
        weights=weights,
        planned=parallelism.reason,
        problems=(*seen.problems.values(), *missing_secrets(spec.routing, seen)),
        rollout=rollout_view(rollout.status, revisions.refused, rollout.wait),
        scaling=scaling_findings(decided, seen.load, dry_run=dry_run),
        dry_run=dry_run,
    )
    revision_history = history_of(before, revisions, rollout.keep, seen, now)
    status = GptOssStatus(
        observed_generation=seen.owner.generation,
        conditions=dated(findings, before.conditions, seen.owner.generation, now),
        url=client_url(seen.owner, spec.routing, options.cluster_domain),
        served_model=served_name(spec, seen.owner.name),
        ready_gateways=gateways.ready,
        selector=",".join(f"{k}={v}" for k, v in selector(seen.owner.name, COMPONENT_REPLICA).items()),
        revision=revisions.wanted,
        current_revision=rollout.keep or None,
        rollout=rollout.status,
        refused_revision=revisions.refused,
        history=revision_history or None,
        image=image,
        resolved=resolved,
        cached_weights=weights.remembered or None,
        **counted(seen.owner, decided, replicas, revisions.wanted, dry_run=dry_run),
        **told(decided, steps, before, now, dry_run=dry_run),
    )
    status, kept = calm(status, before, kept, now)
    listed = [entry.revision for entry in revision_history]
    spared = {*wanted, *kept_records(revisions, listed, used, seen)}
    rolling = bool(rollout.status) or revisions.refused is not None
    applies = tuple(applies_of(wanted, steps, seen))
    deletes = (*replica_deletes(replicas, steps), *leftovers(spared, weights, seen, rolling=rolling))
    annotates = (*traffic_told(replicas, steps), *tell_of_keys(spec.routing, seen))
    plan = Plan(
        applies=applies,
        deletes=deletes,
        annotates=annotates,
        status=status if status != before else None,
        notes=notes_of(seen.owner, decided, steps, before, status),
        look_again_in_seconds=_look_again(replicas, seen, now, rollout),
        reason=reason_of(applies, deletes, annotates, steps, findings),
        memory=kept,
        terms=terms_of(decided),
        limit=decided.scale.limit if decided.scale else Limit.NONE,
    )
    if not dry_run:
        return plan
    notes, reason = notes_of_dry_run(decided, before, status), f"dry run, nothing is changed: {decided.reason}"
    return replace(plan, applies=(), deletes=(), annotates=(), notes=notes, reason=reason)


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


def _gateway_view(spec: GptOssSpec, seen: Observation, now: datetime) -> GatewayView:
    judged = [judge(pod, seen.nodes, now) for pod in seen.gateway_pods]
    failing = [judgement for judgement in judged if judgement.state is PodState.FAILING]
    return GatewayView(
        desired=spec.routing.gateway.replicas,
        ready=_ready_pods(seen.gateway_pods, seen, now),
        trouble=failing[0] if failing else None,
    )


def _look_again(replicas: Sequence[Replica], seen: Observation, now: datetime, rollout: Rollout) -> float | None:
    """Return when a rollout has to be looked at, or a pod that does not come becomes a problem, without an event."""
    if rollout.refused_now:
        return AT_ONCE_SECONDS
    if rollout.status is not None:
        return RESTING_SECONDS if rollout.wait in (Wait.PAUSE, Wait.WINDOW) else ROLLING_SECONDS
    if any(replica.exists and replica.pod is None for replica in replicas):
        return POD_EXPECTED_WITHIN.total_seconds() + 1
    fetching = (judge(pod, seen.nodes, now) for pod in seen.weights_pods)
    if any(judgement.state is PodState.PENDING for judgement in (*(r.judgement for r in replicas), *fetching)):
        return PENDING_TOO_LONG.total_seconds() + 1
    return None
