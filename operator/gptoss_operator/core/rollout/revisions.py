"""Which revision the spec asks for, which one serves, and which one the replicas are to be of."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gptoss_operator.api.rollout import UpgradePolicy
from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.api.status import GptOssStatus, ResolvedDefaults
from gptoss_operator.api.status_rollout import RefusedRevision
from gptoss_operator.core.fleet import Replica
from gptoss_operator.core.observation import Observation
from gptoss_operator.core.records import defaults_in
from gptoss_operator.core.render.options import RenderOptions
from gptoss_operator.core.rollout.revision import Inputs, Resolved, inputs_of, revision_of
from gptoss_runtime.contract import VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Revisions:
    """The revisions of one deployment."""

    wanted: str
    """What the spec asks for."""
    inputs: Inputs
    resolved: Resolved
    """The defaults that `wanted` is made with."""
    keep: str
    """The last one that has come to serve as a whole. Empty: none has yet."""
    refused: RefusedRevision | None
    """`wanted`, if it has failed."""
    goal: str
    """What the replicas are to be of."""
    can_go_back: bool
    """Whether there are replicas of `keep`, or can be again."""

    @property
    def goes_back(self) -> bool:
        """Whether the goal is the one that serves already, though the spec asks for another."""
        return self.goal != self.wanted

    @property
    def trusted(self) -> bool:
        """Whether the goal need show nothing: it has served before, or nothing has."""
        return self.goal == self.keep or not self.keep

    def refuse(self, refused: RefusedRevision, *, go_back: bool) -> "Revisions":
        """Return these with `wanted` refused."""
        return replace(self, refused=refused, goal=self.keep if go_back else self.wanted)


def find_revisions(
    spec: GptOssSpec,
    *,
    before: GptOssStatus,
    seen: Observation,
    replicas: Sequence[Replica],
    tensor_parallel: int,
    options: RenderOptions,
) -> Revisions:
    """Return the revisions, with `tensor_parallel` as it was decided."""
    resolved = _resolve(spec, before, seen, tensor_parallel, options)
    inputs = inputs_of(spec, resolved)
    wanted = revision_of(inputs)
    keep = before.current_revision or _serving(replicas, wanted)
    refused = before.refused_revision
    if refused is not None and refused.revision != wanted:
        refused = None
    lives = any(r.exists and r.revision == keep for r in replicas)
    can_go_back = keep not in ("", wanted) and (lives or keep in seen.revisions)
    goes_back = refused is not None and spec.rollout.auto_rollback and can_go_back
    return Revisions(
        wanted=wanted,
        inputs=inputs,
        resolved=resolved,
        keep=keep,
        refused=refused,
        goal=keep if goes_back else wanted,
        can_go_back=can_go_back,
    )


def resolved_defaults(
    spec: GptOssSpec,
    before: GptOssStatus,
    resolved: Resolved,
    options: RenderOptions,
    *,
    tensor_parallel: int | None,
    planned_for: str,
) -> ResolvedDefaults:
    """Return what the status keeps of defaults, so that a later release does not choose others by itself."""
    chosen = before.resolved or ResolvedDefaults()
    image = chosen.image or options.server_image if spec.image else resolved.image
    moved = image != chosen.image
    always = spec.upgrade_policy is UpgradePolicy.ALWAYS
    return ResolvedDefaults(
        image=image,
        model_revision=resolved.model_revision or None,
        orders_version=VERSION if moved else chosen.orders_version,
        gateway_image=options.gateway_image if always else chosen.gateway_image or options.gateway_image,
        activator_image=options.activator_image if always else chosen.activator_image or options.activator_image,
        tensor_parallel=tensor_parallel,
        planned_for=planned_for,
    )


def _resolve(
    spec: GptOssSpec, before: GptOssStatus, seen: Observation, tensor_parallel: int, options: RenderOptions
) -> Resolved:
    """Return the defaults that go with the spec.

    Those that were recorded stay, unless the spec lets them move. A spec that was served before has those that it had
    then: whoever takes a change back comes back to the very same revision.
    """
    newest = _with(spec, options, tensor_parallel)
    recorded = before.resolved or ResolvedDefaults()
    if spec.upgrade_policy is UpgradePolicy.ALWAYS:
        return newest
    kept = Resolved(
        image=spec.image or recorded.image or newest.image,
        tensor_parallel=tensor_parallel,
        model_revision=_if_default_source(spec, recorded.model_revision or "")
        if recorded.image
        else newest.model_revision,
    )
    if revision_of(inputs_of(spec, kept)) in {before.revision, before.current_revision}:
        return kept
    for candidate in (kept, *_earlier(spec, seen, tensor_parallel)):
        if revision_of(inputs_of(spec, candidate)) in seen.revisions:
            return candidate
    understands = recorded.orders_version in (None, VERSION)
    moves = spec.upgrade_policy is UpgradePolicy.WITH_CHANGE or not understands
    return newest if moves else kept


def _with(spec: GptOssSpec, options: RenderOptions, tensor_parallel: int) -> Resolved:
    name = str(spec.model.name or "")
    return Resolved(
        image=spec.image or options.server_image,
        tensor_parallel=tensor_parallel,
        model_revision=_if_default_source(spec, options.model_revisions.get(name, "")),
    )


def _if_default_source(spec: GptOssSpec, model_revision: str) -> str:
    return "" if spec.model.source else model_revision


def _earlier(spec: GptOssSpec, seen: Observation, tensor_parallel: int) -> Iterator[Resolved]:
    """Yield the defaults of the revisions that are recorded, the newest first."""
    for record in sorted(seen.revisions.values(), key=lambda record: -record.revision):
        defaults = defaults_in(record)
        if image := spec.image or defaults.get("image"):
            revision = _if_default_source(spec, defaults.get("modelRevision", ""))
            yield Resolved(image=image, tensor_parallel=tensor_parallel, model_revision=revision)


def _serving(replicas: Sequence[Replica], wanted: str) -> str:
    """Return which revision most replicas that serve are of, for a status that does not say so. Empty: none serves."""
    serving = Counter(r.revision for r in replicas if r.ready)
    return max(sorted(serving), key=lambda revision: (serving[revision], revision != wanted), default="")
