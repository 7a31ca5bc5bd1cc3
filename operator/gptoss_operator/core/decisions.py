"""Everything that one pass decides, in its order: revisions, how many replicas and where, weights, the rollout."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from gptoss_operator.api.spec import GptOssSpec, gpus_of_replica
from gptoss_operator.api.status import GptOssStatus, ResolvedDefaults
from gptoss_operator.core.capacity import Parallelism, planned_for
from gptoss_operator.core.decide import Decided, decide
from gptoss_operator.core.fleet import Replica, Step, decide_fleet, held, replicas_of
from gptoss_operator.core.history import recall_week
from gptoss_operator.core.memory import Memory
from gptoss_operator.core.observation import Manifest, Observation
from gptoss_operator.core.render.options import RenderOptions
from gptoss_operator.core.rollout.progress import is_rolling
from gptoss_operator.core.rollout.revisions import find_revisions, resolved_defaults
from gptoss_operator.core.rollout.rollout import Rollout, Scene, decide_rollout
from gptoss_operator.core.templates import find_templates, with_defaults
from gptoss_operator.core.weights import Weights, decide_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """What was decided for one GptOssDeployment, and from what."""

    spec: GptOssSpec
    before: GptOssStatus
    """The last status."""
    seen: Observation
    options: RenderOptions
    now: datetime
    planned: str
    """How many GPUs share the model, and why."""
    replicas: tuple[Replica, ...]
    decided: Decided
    """How many replicas there should be, and where."""
    weights: Weights
    rollout: Rollout
    steps: tuple[Step, ...]
    """What is done with each slot."""
    templates: Mapping[str, Manifest]
    """The pod templates of the revisions that replicas may be made of now."""
    record: Manifest | None
    """The record of the revision that the spec asks for, where it has none yet."""
    used: frozenset[str]
    """Revisions of the replicas that exist."""
    resolved: ResolvedDefaults
    memory: Memory

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be changed."""
        return self.spec.mode == "DryRun"


def decide_all(
    spec: GptOssSpec,
    parallelism: Parallelism,
    *,
    before: GptOssStatus,
    seen: Observation,
    options: RenderOptions,
    memory: Memory,
    now: datetime,
) -> Decisions:
    """Return what is decided for a spec that is understood and fits. `before` is the last status."""
    memory = recall_week(memory, seen)
    gpus = gpus_of_replica(spec, parallelism.tensor_parallel)
    replicas = replicas_of(seen, now)
    used = frozenset(r.revision for r in replicas if r.exists)
    revisions = find_revisions(
        spec,
        before=before,
        seen=seen,
        replicas=replicas,
        tensor_parallel=parallelism.tensor_parallel,
        options=options,
    )
    served = with_defaults(spec, revisions.resolved)
    templates = find_templates(served, revisions, used, seen, options)
    decided = decide(
        spec,
        seen=seen,
        replicas=replicas,
        goal=revisions.goal,
        rolling=is_rolling(before.rollout, used - {revisions.goal}),
        gpus=gpus,
        options=options,
        before=before,
        memory=memory,
        now=now,
    )
    weights = decide_weights(served, revisions.resolved.image, before=before, seen=seen, options=options, now=now)
    scene = Scene(
        spec=spec,
        seen=seen,
        replicas=replicas,
        decided=decided,
        weights=weights,
        before=before,
        gpus=gpus,
        canary=memory.canary,
        now=now,
    )
    rollout = decide_rollout(scene, revisions)
    usable = templates.without(revisions.wanted) if weights.hold_back else templates.by_revision
    steps = held(decide_fleet(rollout.creates, rollout.removes, replicas, rollout.shares), usable)
    is_known = not parallelism.guessed or any(r.ready for r in replicas)
    return Decisions(
        spec=spec,
        before=before,
        seen=seen,
        options=options,
        now=now,
        planned=parallelism.reason,
        replicas=replicas,
        decided=decided,
        weights=weights,
        rollout=rollout,
        steps=steps,
        templates=usable,
        record=templates.record,
        used=used,
        resolved=resolved_defaults(
            spec,
            before,
            revisions.resolved,
            options,
            tensor_parallel=parallelism.tensor_parallel if is_known else None,
            planned_for=planned_for(spec),
        ),
        memory=replace(decided.memory, canary=rollout.memory),
    )
