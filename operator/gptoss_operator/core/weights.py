"""Whether the weights are in the cache's claim: replicas of a new template wait until a Job has brought them there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from gptoss_operator.api import names
from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.api.status import CachedWeights, GptOssStatus, Reason
from gptoss_operator.core.health import Judgement, PodState, judge
from gptoss_operator.core.objects import Child, Pod
from gptoss_operator.core.observation import ChildKey, Manifest, Observation
from gptoss_operator.core.render.options import RenderOptions
from gptoss_operator.core.render.weights import weights_job
from gptoss_operator.core.sources import Fetch, cache_claim, weights_for_job


REMEMBERED: Final = 16
"""How many fetches the status tells of, the last ones."""


class Stage(StrEnum):
    """How far the weights are."""

    NOT_NEEDED = "not-needed"
    """No Job fetches: the weights are mounted or streamed, or each replica fetches them itself."""
    CACHED = "cached"
    FETCHING = "fetching"
    FAILED = "failed"
    """The Job has given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What is known of the weights, and the Job that is to be there."""

    stage: Stage
    message: str
    """One sentence, without numbers that change by themselves."""
    remembered: tuple[CachedWeights, ...]
    """For the status: what Jobs have brought into claims."""
    identity: str = ""
    """The label of the Jobs that fetch just this. Empty where there are none."""
    job: Manifest | None = None
    """The Job that is to be there. None: nothing is to be fetched, or its claim is not there yet."""
    trouble: Judgement | None = None
    """What is wrong with the fetch, though it may still come to its end."""

    @property
    def hold_back(self) -> str | None:
        """Why no replica may take the new template yet. None: it may."""
        if self.stage is Stage.FETCHING:
            return "waits until its weights are in the cache"
        return "its weights could not be fetched" if self.stage is Stage.FAILED else None


def decide_weights(
    spec: GptOssSpec, image: str, *, before: GptOssStatus, seen: Observation, options: RenderOptions, now: datetime
) -> Weights:
    """Return how far the weights are. Follows from what is seen, and from `before` where the Job is gone."""
    order = weights_for_job(spec)
    claim = cache_claim(seen.owner.name, spec)
    remembered = before.cached_weights or ()
    if order is None or claim is None:
        return Weights(stage=Stage.NOT_NEEDED, message="no Job is needed", remembered=remembered)
    uid = _uid_of(claim, spec, seen)
    if uid is None:
        # A claim that is made anew is empty, so a Job is for one claim of that name and no other.
        return Weights(stage=Stage.FETCHING, message=f"claim {claim} is being created", remembered=remembered)
    fetch = Fetch(order=order, claim=claim, claim_uid=uid)
    entry = CachedWeights(claim=claim, claim_uid=uid, directory=fetch.directory)
    jobs = [child.object for key, child in seen.children.items() if key.kind == "Job"]
    complete = any(_holds(job, "Complete") for job in jobs if _identity(job) == fetch.identity)
    if complete or entry in remembered:
        return Weights(
            stage=Stage.CACHED,
            message=f"{order.source} is in claim {claim}",
            remembered=remembered if entry in remembered else (*remembered, entry)[-REMEMBERED:],
            identity=fetch.identity,
        )
    manifest = weights_job(seen.owner, spec, image, fetch, options)
    stage, message, trouble = _underway(fetch, manifest["metadata"]["name"], seen, now)
    return Weights(
        stage=stage,
        message=message,
        remembered=remembered,
        identity=fetch.identity,
        job=manifest,
        trouble=trouble,
    )


def is_record(child: Child, weights: Weights) -> bool:
    """Return whether `child` is a Job that has fetched what is used: it is kept, so that people can look at it."""
    return weights.stage is Stage.CACHED and _identity(child) == weights.identity


def _underway(fetch: Fetch, name: str, seen: Observation, now: datetime) -> tuple[Stage, str, Judgement | None]:
    """Return how far the Job `name` is, which has not come to a good end, and what is wrong with it."""
    child = seen.children.get(ChildKey("Job", name))
    what = f"{fetch.order.source} into claim {fetch.claim}"
    if child is None:
        return Stage.FETCHING, f"Job {name} is being created, to fetch {what}", None
    job = child.object
    pods = _pods_of(name, seen.weights_pods)
    failed = [judge(pod, seen.nodes, now).message for pod in pods if pod.status.phase == "Failed"]
    if _holds(job, "Failed"):
        words = failed[-1] if failed else _message(job, "Failed")
        remedy = f"correct it, and if that does not change the spec, delete Job {name} to try again"
        message = f"Job {name} could not fetch {what} ({words}): {remedy}"
        return Stage.FAILED, message, _failing(Reason.WEIGHTS_FETCH_FAILED, message)
    if not pods:
        message = f"Job {name} has no pod yet: if that lasts, `kubectl describe job {name}` says why"
        return Stage.FETCHING, message, None
    last = None if _has_succeeded(pods[-1]) else judge(pods[-1], seen.nodes, now)
    since = f" since {job.status.start_time:%Y-%m-%dT%H:%M:%SZ}" if job.status.start_time else ""
    if failed:
        message = f"Job {name} fetches {what}{since}; its last attempt that ended has failed: {failed[-1]}"
        return Stage.FETCHING, message, _failing(Reason.WEIGHTS_FETCH_FAILED, message)
    if last and last.state in (PodState.FAILING, PodState.PENDING):
        message = f"Job {name}, to fetch {what}: {last.message}"
        trouble = _failing(last.reason, message) if last.state is PodState.FAILING else None
        return Stage.FETCHING, message, trouble
    return Stage.FETCHING, f"Job {name} fetches {what}{since}", None


def _failing(reason: Reason, message: str) -> Judgement:
    return Judgement(state=PodState.FAILING, reason=reason, message=message)


def _uid_of(claim: str, spec: GptOssSpec, seen: Observation) -> str | None:
    """Return which claim of that name it is: empty for the user's own, None while the operator's is not there."""
    wanted = spec.cache.persistent_volume_claim
    if wanted is not None and wanted.claim_name:
        return ""
    child = seen.children.get(ChildKey("PersistentVolumeClaim", claim))
    return child.object.metadata.uid if child else None


def _pods_of(job: str, pods: Sequence[Pod]) -> list[Pod]:
    """Return the Job's pods that stay, the oldest first."""
    return sorted(
        (
            pod
            for pod in pods
            if pod.metadata.deletion_timestamp is None
            and any(owner.name == job for owner in pod.metadata.owner_references)
        ),
        key=lambda pod: (str(pod.metadata.creation_timestamp), pod.metadata.name),
    )


def _has_succeeded(pod: Pod) -> bool:
    """Return whether its work is done; the pod's phase says so a moment after its container has ended."""
    ended = [status.state.terminated for status in pod.status.container_statuses]
    return pod.status.phase == "Succeeded" or (bool(ended) and all(end and end.exit_code == 0 for end in ended))


def _identity(child: Child) -> str | None:
    return child.metadata.labels.get(names.LABEL_WEIGHTS)


def _holds(job: Child, condition: str) -> bool:
    return any(c.type == condition and c.status == "True" for c in job.status.conditions)


def _message(job: Child, condition: str) -> str:
    return next((c.message or c.reason for c in job.status.conditions if c.type == condition), "the Job has failed")
