"""The pod template of each revision that replicas may be made of, and the records in which they are kept."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gptoss_operator.api.model import HuggingFaceSource, ModelSource
from gptoss_operator.api.spec import GptOssSpec, model_source
from gptoss_operator.core.observation import ChildKey, Manifest, Observation
from gptoss_operator.core.records import new_record, record_key, template_of
from gptoss_operator.core.render.options import RenderOptions
from gptoss_operator.core.render.pod import as_made_now, pod_template
from gptoss_operator.core.rollout.revision import Resolved, defaults_of
from gptoss_operator.core.rollout.revisions import Revisions


@dataclass(frozen=True, slots=True, kw_only=True)
class Templates:
    """Templates by revision. One that is absent cannot be made any more."""

    by_revision: Mapping[str, Manifest]
    record: Manifest | None
    """The record of the revision that the spec asks for, where it has none yet."""

    def without(self, revision: str) -> Mapping[str, Manifest]:
        """Return the templates of all other revisions."""
        return {name: template for name, template in self.by_revision.items() if name != revision}


def with_defaults(spec: GptOssSpec, resolved: Resolved) -> GptOssSpec:
    """Return the spec with the source that it leaves to the operator, at the revision that was chosen for it."""
    source = model_source(spec).hugging_face
    if spec.model.source or source is None or not resolved.model_revision:
        return spec
    chosen = ModelSource(hugging_face=HuggingFaceSource(repository=source.repository, revision=resolved.model_revision))
    return spec.model_copy(update={"model": spec.model.model_copy(update={"source": chosen})})


def find_templates(
    spec: GptOssSpec, revisions: Revisions, used: Iterable[str], seen: Observation, options: RenderOptions
) -> Templates:
    """Return the templates of the revision that the spec asks for, of the one that serves, and of those `used`.

    What is recorded counts, whatever this release would render.
    """
    name, wanted = seen.owner.name, revisions.wanted
    found = {
        revision: template
        for revision in {wanted, revisions.keep, *used}
        if (kept := seen.revisions.get(revision)) and (template := template_of(kept))
    }
    record: Manifest | None = None
    if wanted not in found:
        resolved = revisions.resolved
        found[wanted] = pod_template(name, spec, resolved.image, resolved.tensor_parallel, options)
        if wanted not in seen.revisions:
            defaults = defaults_of(spec, resolved)
            record = new_record(seen, wanted, found[wanted], inputs=revisions.inputs, defaults=defaults)
    return Templates(by_revision={r: as_made_now(t, name, spec) for r, t in found.items()}, record=record)


def kept_records(revisions: Revisions, listed: Iterable[str], used: Iterable[str], seen: Observation) -> set[ChildKey]:
    """Return the records that are kept: of what is wanted, serves, is used, or is `listed` in the history."""
    kept = {revisions.wanted, revisions.keep, revisions.goal, *used, *listed}
    return {record_key(seen.owner.name, revision) for revision in kept if revision}
