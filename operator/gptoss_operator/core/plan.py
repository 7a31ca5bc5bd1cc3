"""One pass: from the user's object and what is seen to everything that is done about it."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from gptoss_operator.api.names import (
    COMPONENT_GATEWAY,
    COMPONENT_REPLICA,
    LABEL_SLOT,
    gateway,
    replica,
    replica_disruption_budget,
    selector,
)
from gptoss_operator.api.spec import AUTO, GptOssSpec, desired_replicas, served_name
from gptoss_operator.api.status import ConditionType, GptOssStatus, Reason, ResolvedDefaults
from gptoss_operator.core.actions import Annotate, Apply, Delete, Note, Plan, digest_of
from gptoss_operator.core.conditions import Finding, GatewayView, assess, dated, refused
from gptoss_operator.core.fleet import POD_EXPECTED_WITHIN, Action, Replica, Step, decide_fleet, replicas_of
from gptoss_operator.core.health import PENDING_TOO_LONG, PodState, judge
from gptoss_operator.core.notes import notes_of
from gptoss_operator.core.observation import ChildKey, Manifest, Observation
from gptoss_operator.core.parse import parse_spec, parse_status
from gptoss_operator.core.render.disruption import disruption_budget
from gptoss_operator.core.render.gateway import gateway_config, gateway_deployment
from gptoss_operator.core.render.gateway_pod import GatewayImages
from gptoss_operator.core.render.haproxy.files import gateway_files
from gptoss_operator.core.render.inference_pool import pool_of_replicas
from gptoss_operator.core.render.options import RenderOptions
from gptoss_operator.core.render.pod import pod_template
from gptoss_operator.core.render.service import client_url, clients_service, peers_service, replicas_service
from gptoss_operator.core.render.statefulset import replica_set, revision_of
from gptoss_operator.core.secrets import missing_secrets, tell_of_keys
from gptoss_operator.errors import InvalidSpec


def make_plan(body: dict[str, Any], seen: Observation, options: RenderOptions, now: datetime) -> Plan:
    """Return what to do for one GptOssDeployment.

    `body` is the user's object as it was last seen. A spec that cannot be understood changes nothing but the status:
    what runs goes on running.
    """
    before = parse_status(body)
    try:
        spec = parse_spec(body)
    except InvalidSpec as error:
        return _refuse(str(error), before, seen, now)
    resolved = _resolve(before, options)
    image = spec.image or resolved.image or options.server_image
    template = pod_template(seen.owner.name, spec, image, _tensor_parallel(spec, resolved), options)
    revision = revision_of(template)
    desired = desired_replicas(spec)
    replicas = replicas_of(seen, now)
    steps = decide_fleet(desired, replicas, revision)
    wanted = {**_shared_children(spec, desired, resolved, seen, options), **_replica_sets(seen, steps, template)}
    applies = tuple(_applies(wanted, steps, seen))
    deletes = (*_replica_deletes(replicas, steps), *_leftovers(wanted, seen))
    annotates = tuple(tell_of_keys(spec.routing, seen))
    gateways = _gateway_view(spec, seen, now)
    findings = assess(
        owner=seen.owner,
        desired=desired,
        replicas=replicas,
        steps=steps,
        gateway=gateways,
        problems=(*seen.problems.values(), *missing_secrets(spec.routing, seen)),
    )
    status = GptOssStatus(
        observed_generation=seen.owner.generation,
        conditions=dated(findings, before.conditions, seen.owner.generation, now),
        url=client_url(seen.owner, spec.routing, options.cluster_domain),
        served_model=served_name(spec, seen.owner.name),
        replicas=sum(r.exists for r in replicas),
        ready_replicas=sum(r.ready for r in replicas),
        updated_replicas=sum(r.exists and _is_current(r.slot, steps) for r in replicas),
        desired_replicas=desired,
        ready=f"{sum(r.ready for r in replicas)}/{desired}",
        ready_gateways=gateways.ready,
        selector=",".join(f"{k}={v}" for k, v in selector(seen.owner.name, COMPONENT_REPLICA).items()),
        revision=revision,
        image=image,
        resolved=resolved,
    )
    return Plan(
        applies=applies,
        deletes=deletes,
        annotates=annotates,
        status=status if status != before else None,
        notes=notes_of(seen.owner, steps, before, status),
        look_again_in_seconds=_look_again(replicas),
        reason=_reason(applies, deletes, annotates, steps, findings),
    )


def _refuse(problem: str, before: GptOssStatus, seen: Observation, now: datetime) -> Plan:
    """Return the plan for a spec that cannot be understood: say so, and touch nothing."""
    conditions = dated(refused(problem), before.conditions, seen.owner.generation, now)
    said = {condition.type for condition in conditions} | {ConditionType.RECONCILING}
    kept = tuple(condition for condition in before.conditions if condition.type not in said)
    status = before.model_copy(
        update={"observed_generation": seen.owner.generation, "conditions": (conditions[0], *kept, *conditions[1:])}
    )
    note = Note(type="Warning", reason=Reason.INVALID_SPEC, action="Validate", message=problem)
    changed = status != before
    return Plan(status=status if changed else None, notes=(note,) if changed else (), reason=problem)


def _tensor_parallel(spec: GptOssSpec, resolved: ResolvedDefaults) -> int:
    if spec.tensor_parallel != AUTO:
        return spec.tensor_parallel
    return resolved.tensor_parallel or 1


def _resolve(before: GptOssStatus, options: RenderOptions) -> ResolvedDefaults:
    """Return the defaults of this object: those chosen before, so that an upgrade of the operator restarts nothing."""
    chosen = before.resolved or ResolvedDefaults()
    return ResolvedDefaults(
        image=chosen.image or options.server_image,
        gateway_image=chosen.gateway_image or options.gateway_image,
        activator_image=chosen.activator_image or options.activator_image,
    )


def _shared_children(
    spec: GptOssSpec, desired: int, resolved: ResolvedDefaults, seen: Observation, options: RenderOptions
) -> dict[ChildKey, Manifest]:
    """Return everything but the replicas, in the order in which it is applied."""
    owner = seen.owner
    files = gateway_files(owner, spec, desired, options.cluster_domain)
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


def _replica_sets(seen: Observation, steps: Sequence[Step], template: Manifest) -> dict[ChildKey, Manifest]:
    return _by_key(*(replica_set(seen.owner, s.slot, template) for s in steps if s.action is not Action.REMOVE))


def _applies(wanted: dict[ChildKey, Manifest], steps: Sequence[Step], seen: Observation) -> Iterable[Apply]:
    """Yield what is missing, outdated, or changed by somebody else. A replica that is on hold stays as it is."""
    held = {ChildKey("StatefulSet", replica(seen.owner.name, s.slot)) for s in steps if s.action is Action.HOLD}
    why = {
        ChildKey("StatefulSet", replica(seen.owner.name, s.slot)): s.reason
        for s in steps
        if s.action is not Action.KEEP
    }
    for key, manifest in wanted.items():
        child = seen.children.get(key)
        digest = digest_of(manifest)
        if key in held or (child and child.applied_digest == digest):
            continue
        default = "it is not known to be as it should" if child else "it does not exist"
        yield Apply(manifest=manifest, digest=digest, exists=child is not None, reason=why.get(key, default))


def _replica_deletes(replicas: Sequence[Replica], steps: Sequence[Step]) -> Iterable[Delete]:
    by_slot = {replica.slot: replica for replica in replicas}
    for step in steps:
        seen = by_slot.get(step.slot)
        if step.action is Action.REMOVE and seen and seen.workload:
            meta = seen.workload.object.metadata
            kind = "StatefulSet"
        elif step.action is Action.REPLACE_POD and seen and seen.pod:
            meta, kind = seen.pod.metadata, "Pod"
        else:
            continue
        yield Delete(
            key=ChildKey(kind, meta.name), uid=meta.uid, resource_version=meta.resource_version, reason=step.reason
        )


def _leftovers(wanted: dict[ChildKey, Manifest], seen: Observation) -> Iterable[Delete]:
    """Yield what an earlier release made and this one has no use for."""
    for key, child in seen.children.items():
        meta = child.object.metadata
        if key.kind != "StatefulSet" and key not in wanted and meta.deletion_timestamp is None:
            yield Delete(key=key, uid=meta.uid, resource_version=meta.resource_version, reason="no longer needed")


def _gateway_view(spec: GptOssSpec, seen: Observation, now: datetime) -> GatewayView:
    judged = [judge(pod, seen.nodes, now) for pod in seen.gateway_pods]
    failing = [judgement for judgement in judged if judgement.state is PodState.FAILING]
    return GatewayView(
        desired=spec.routing.gateway.replicas,
        ready=sum(judgement.state is PodState.READY for judgement in judged),
        trouble=failing[0] if failing else None,
    )


def _is_current(slot: int, steps: Sequence[Step]) -> bool:
    return any(step.slot == slot and step.action is Action.KEEP for step in steps)


def _look_again(replicas: Sequence[Replica]) -> float | None:
    """Return when a pod that does not come becomes a problem, so that the user is told without another event."""
    if any(replica.exists and replica.pod is None for replica in replicas):
        return POD_EXPECTED_WITHIN.total_seconds() + 1
    if any(replica.judgement.state is PodState.PENDING for replica in replicas):
        return PENDING_TOO_LONG.total_seconds() + 1
    return None


def _reason(
    applies: Sequence[Apply],
    deletes: Sequence[Delete],
    annotates: Sequence[Annotate],
    steps: Sequence[Step],
    findings: Sequence[Finding],
) -> str:
    done = [f"{s.action} slot {s.slot}: {s.reason}" for s in steps if s.action not in (Action.KEEP, Action.HOLD)]
    stepped = {str(s.slot) for s in steps if s.action not in (Action.KEEP, Action.HOLD)}
    done += [
        f"apply {a.key.kind} {a.key.name}: {a.reason}"
        for a in applies
        if a.manifest["metadata"]["labels"].get(LABEL_SLOT) not in stepped
    ]
    done += [
        f"delete {d.key.kind} {d.key.name}: {d.reason}" for d in deletes if d.key.kind not in ("StatefulSet", "Pod")
    ]
    done += [f"annotate Pod {a.pod}: {a.reason}" for a in annotates]
    if done:
        return "; ".join(done)
    state = next((f for f in findings if f.type is ConditionType.PROGRESSING), None)
    if state and state.holds:
        return f"waiting: {state.message}"
    return "settled: everything is as the spec asks"


def _by_key(*manifests: Manifest) -> dict[ChildKey, Manifest]:
    return {ChildKey(m["kind"], m["metadata"]["name"]): m for m in manifests}
