"""One pass: from the user's object and what is seen to everything that is done about it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from gptoss_operator.api.names import (
    COMPONENT_GATEWAY,
    COMPONENT_REPLICA,
    gateway,
    replica_disruption_budget,
    selector,
)
from gptoss_operator.api.spec import GptOssSpec, gpus_of_replica, most_replicas_at_once, served_name
from gptoss_operator.api.status import ConditionType, GptOssStatus, Reason, ResolvedDefaults
from gptoss_operator.core.actions import Note, Plan
from gptoss_operator.core.capacity import decide_parallelism, planned_for
from gptoss_operator.core.changes import applies_of, leftovers, replica_deletes
from gptoss_operator.core.checks import check
from gptoss_operator.core.conditions import GatewayView, answering, assess, dated, refused
from gptoss_operator.core.conditions_scaling import scaling_findings
from gptoss_operator.core.decide import decide
from gptoss_operator.core.fleet import (
    POD_EXPECTED_WITHIN,
    Action,
    Replica,
    Step,
    decide_fleet,
    held_back,
    replicas_of,
)
from gptoss_operator.core.health import PENDING_TOO_LONG, PodState, judge
from gptoss_operator.core.history import keep_history, recall_week
from gptoss_operator.core.memory import Memory, remembered
from gptoss_operator.core.notes import notes_of, notes_of_dry_run
from gptoss_operator.core.objects import Pod
from gptoss_operator.core.observation import ChildKey, Manifest, Observation
from gptoss_operator.core.parse import parse_spec, parse_status
from gptoss_operator.core.placement.places import Stage
from gptoss_operator.core.render.disruption import disruption_budget
from gptoss_operator.core.render.gateway import gateway_config, gateway_deployment
from gptoss_operator.core.render.gateway_pod import GatewayImages
from gptoss_operator.core.render.haproxy.files import gateway_files
from gptoss_operator.core.render.inference_pool import pool_of_replicas
from gptoss_operator.core.render.machine import machine_of
from gptoss_operator.core.render.options import RenderOptions
from gptoss_operator.core.render.pod import pod_template
from gptoss_operator.core.render.service import client_url, clients_service, peers_service, replicas_service
from gptoss_operator.core.render.statefulset import replica_set, revision_of
from gptoss_operator.core.render.weights import cache_claim
from gptoss_operator.core.scaling.decision import Limit
from gptoss_operator.core.secrets import missing_secrets, tell_of_keys
from gptoss_operator.core.summary import counted, reason_of
from gptoss_operator.core.told import calm, terms_of, told
from gptoss_operator.core.weights import Weights, decide_weights
from gptoss_operator.errors import InvalidSpec
from gptoss_runtime.contract import VERSION


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
    known = not parallelism.guessed or any(r.ready for r in replicas)
    resolved = _resolve(spec, before, parallelism.tensor_parallel if known else None, options)
    image = spec.image or resolved.image or options.server_image
    template = pod_template(seen.owner.name, spec, image, parallelism.tensor_parallel, options)
    revision = revision_of(template)
    decided = decide(
        spec,
        seen=seen,
        replicas=replicas,
        revision=revision,
        gpus=gpus_of_replica(spec, parallelism.tensor_parallel),
        options=options,
        before=before,
        memory=recall_week(memory or remembered(before, now), seen),
        now=now,
    )
    lost = [slot for slot, fate in decided.fates.items() if fate.stage is Stage.LOST]
    steps = decide_fleet(decided.placement.creates, decided.placement.removes, replicas, revision, lost=lost)
    weights = decide_weights(spec, image, before=before, seen=seen, options=options, now=now)
    if weights.hold_back:
        steps = held_back(steps, weights.hold_back)
    dry_run = spec.mode == "DryRun"
    history, kept = keep_history(spec, seen, decided.memory, now)
    wanted = {
        **_cache(spec, weights, seen),
        **_shared_children(spec, resolved, seen, options),
        **history,
        **_replica_sets(seen, steps, template, spec),
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
        scaling=scaling_findings(decided, seen.load, dry_run=dry_run),
        dry_run=dry_run,
    )
    status = GptOssStatus(
        observed_generation=seen.owner.generation,
        conditions=dated(findings, before.conditions, seen.owner.generation, now),
        url=client_url(seen.owner, spec.routing, options.cluster_domain),
        served_model=served_name(spec, seen.owner.name),
        ready_gateways=gateways.ready,
        selector=",".join(f"{k}={v}" for k, v in selector(seen.owner.name, COMPONENT_REPLICA).items()),
        revision=revision,
        image=image,
        resolved=resolved,
        cached_weights=weights.remembered or None,
        **counted(seen.owner, decided, replicas, steps, dry_run=dry_run),
        **told(decided, steps, before, now, dry_run=dry_run),
    )
    status, kept = calm(status, before, kept, now)
    applies = tuple(applies_of(wanted, steps, seen))
    deletes = (*replica_deletes(replicas, steps), *leftovers(wanted, steps, weights, seen))
    annotates = tuple(tell_of_keys(spec.routing, seen))
    plan = Plan(
        applies=applies,
        deletes=deletes,
        annotates=annotates,
        status=status if status != before else None,
        notes=notes_of(seen.owner, decided, steps, before, status),
        look_again_in_seconds=_look_again(replicas, seen, now),
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


def _resolve(
    spec: GptOssSpec, before: GptOssStatus, tensor_parallel: int | None, options: RenderOptions
) -> ResolvedDefaults:
    """Return the defaults of this object: those chosen before, so that an upgrade of the operator moves no image.

    A server that would misunderstand the orders of this operator is replaced by the one that comes with it.
    """
    chosen = before.resolved or ResolvedDefaults()
    understands = chosen.orders_version == VERSION
    return ResolvedDefaults(
        image=(chosen.image if understands else None) or options.server_image,
        orders_version=VERSION,
        gateway_image=chosen.gateway_image or options.gateway_image,
        activator_image=chosen.activator_image or options.activator_image,
        tensor_parallel=tensor_parallel,
        planned_for=planned_for(spec),
    )


def _cache(spec: GptOssSpec, weights: Weights, seen: Observation) -> dict[ChildKey, Manifest]:
    """Return the claim that the operator makes and the Job that fills it: first, since a fetch takes longest."""
    claim = spec.cache.persistent_volume_claim
    made = (cache_claim(seen.owner, claim),) if claim and not claim.claim_name else ()
    return _by_key(*made, *((weights.job,) if weights.job else ()))


def _shared_children(
    spec: GptOssSpec, resolved: ResolvedDefaults, seen: Observation, options: RenderOptions
) -> dict[ChildKey, Manifest]:
    """Return everything but the replicas, in the order in which it is applied."""
    owner = seen.owner
    files = gateway_files(owner, spec, most_replicas_at_once(spec), options.cluster_domain)
    images = GatewayImages(
        haproxy=spec.routing.gateway.image or resolved.gateway_image or options.gateway_image,
        activator=spec.routing.gateway.activator_image or resolved.activator_image or options.activator_image,
    )
    pool = spec.routing.inference_pool
    return _by_key(
        replicas_service(owner),
        peers_service(owner),
        clients_service(owner, spec.routing),
        gateway_config(owner, files),
        gateway_deployment(owner, spec, images, files, options),
        disruption_budget(owner, replica_disruption_budget(owner.name), COMPONENT_REPLICA),
        disruption_budget(owner, gateway(owner.name), COMPONENT_GATEWAY),
        *((pool_of_replicas(owner, pool),) if pool else ()),
    )


def _replica_sets(
    seen: Observation, steps: Sequence[Step], template: Manifest, spec: GptOssSpec
) -> dict[ChildKey, Manifest]:
    staying = [step for step in steps if step.action is not Action.REMOVE]
    machines = {place: machine_of(place, spec) for place in {step.place for step in staying}}
    return _by_key(*(replica_set(seen.owner, s.slot, template, machines[s.place]) for s in staying))


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


def _look_again(replicas: Sequence[Replica], seen: Observation, now: datetime) -> float | None:
    """Return when a pod that does not come becomes a problem, so that the user is told without another event."""
    if any(replica.exists and replica.pod is None for replica in replicas):
        return POD_EXPECTED_WITHIN.total_seconds() + 1
    fetching = (judge(pod, seen.nodes, now) for pod in seen.weights_pods)
    if any(judgement.state is PodState.PENDING for judgement in (*(r.judgement for r in replicas), *fetching)):
        return PENDING_TOO_LONG.total_seconds() + 1
    return None


def _by_key(*manifests: Manifest) -> dict[ChildKey, Manifest]:
    return {ChildKey(m["kind"], m["metadata"]["name"]): m for m in manifests}
