"""Does what a plan says, in its order: applies, deletes, annotations, events, and the status last.

A refusal of one object is remembered for the next pass, which says so in a condition; it does not stop the others.
When the API server is not available the pass ends, and the queue begins it again later.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from gptoss_operator.api import names
from gptoss_operator.api.status import GptOssStatus, Reason
from gptoss_operator.core.actions import Annotate, Apply, Delete, Plan
from gptoss_operator.core.objects import Pod
from gptoss_operator.core.observation import ChildKey, Manifest, Owner, Problem
from gptoss_operator.errors import Conflict, KubernetesError, NotFound, Refused, Unavailable
from gptoss_operator.shell.bodies import Bodies
from gptoss_operator.shell.children import child_of
from gptoss_operator.shell.cluster import Cluster
from gptoss_operator.shell.ledger import Ledger
from gptoss_operator.shell.notes import NoteLimiter, event_of
from gptoss_operator.shell.observe import is_controlled_by
from gptoss_operator.shell.resources import OPTIONAL_CHILD_KINDS, POD, RESOURCES
from gptoss_operator.shell.store import Key


logger = logging.getLogger(__name__)


class Writer(Protocol):
    """The calls of `Kube` that a plan needs."""

    async def get(self, kind: str, namespace: str, name: str) -> Manifest:
        """Return one object."""
        ...

    async def apply(self, manifest: Manifest) -> Manifest:
        """Apply one object."""
        ...

    async def overwrite(self, manifest: Manifest) -> Manifest:
        """Merge into one object, replacing lists."""
        ...

    async def apply_status(self, manifest: Manifest) -> Manifest:
        """Apply the status of one object."""
        ...

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str, resource_version: str) -> Manifest:
        """Delete one object."""
        ...

    async def annotate(
        self, kind: str, namespace: str, name: str, *, uid: str, annotations: dict[str, str]
    ) -> Manifest:
        """Set annotations of one object."""
        ...

    async def create_event(self, event: Manifest) -> None:
        """Create one Event."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What a plan is carried out with."""

    writer: Writer
    cluster: Cluster
    bodies: Bodies
    ledger: Ledger
    limiter: NoteLimiter = field(default_factory=NoteLimiter)
    instance: str = names.FIELD_MANAGER
    """Name of this process in events."""
    may_write: Callable[[], bool] = lambda: True
    """Asked before each write. False: another process is in charge now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a plan."""

    problems_changed: bool
    """Whether the next pass will see other problems than this one did."""
    conflicts: int
    """Deletes and status writes that were not done because the object had changed."""


async def carry_out(plan: Plan, owner: Owner, hands: Hands) -> Outcome:
    """Do everything in `plan`. Raises Unavailable when the API server is, or when this process may not write."""
    deployment = Key(owner.namespace, owner.name)
    before = hands.ledger.problems(deployment)
    conflicts = 0
    for apply in plan.applies:
        await _apply(apply, owner, hands)
    for delete in plan.deletes:
        conflicts += not await _delete(delete, owner, hands)
    for annotate in plan.annotates:
        await _annotate(annotate, owner, hands)
    hands.ledger.retract_problems(deployment, frozenset(apply.key for apply in plan.applies))
    await _send_notes(plan, owner, hands)
    if plan.status is not None:
        conflicts += not await _write_status(plan.status, owner, hands)
    return Outcome(problems_changed=hands.ledger.problems(deployment) != before, conflicts=conflicts)


async def _apply(apply: Apply, owner: Owner, hands: Hands) -> None:
    deployment = Key(owner.namespace, owner.name)
    obstacle = None if apply.exists else await _obstacle(apply.key, owner, hands)
    if obstacle is None:
        _check_may_write(hands)
        try:
            answer = await _applied(apply, hands)
        except (Refused, Conflict, NotFound) as error:
            obstacle = _refusal(error, apply.key)
        else:
            applied = child_of(apply.key.kind, answer)
            labels = apply.manifest["metadata"].get("labels", {})
            hands.ledger.record(deployment, apply.key, applied, apply.digest, labels)
            hands.cluster.children[apply.key.kind].remember(hands.cluster.scope_of(owner.namespace), applied)
            return
    if hands.ledger.refuse(deployment, apply.key, obstacle):
        logger.warning("%s/%s: %s %s not applied: %s", owner.namespace, owner.name, *apply.key, obstacle.message)


async def _applied(apply: Apply, hands: Hands) -> Manifest:
    """Return the object as it is once `apply` is done.

    What somebody else put into a list beside ours stays in it, and the whole may then be invalid, such as two ports of
    one name. Ours replaces theirs in that case.
    """
    try:
        return await hands.writer.apply(apply.manifest)
    except Refused:
        if not apply.exists:
            raise
        _check_may_write(hands)
        await hands.writer.overwrite(apply.manifest)
        _check_may_write(hands)
        return await hands.writer.apply(apply.manifest)


async def _obstacle(key: ChildKey, owner: Owner, hands: Hands) -> Problem | None:
    """Return why an object that was not seen must not be applied: there is one of that name that is not ours."""
    try:
        found = child_of(key.kind, await hands.writer.get(key.kind, owner.namespace, key.name)).metadata
    except NotFound:
        return None
    except Refused as error:
        return _refusal(error, key)
    if is_controlled_by(found, owner.uid):
        return None
    controllers = [reference for reference in found.owner_references if reference.controller]
    if not controllers and names.identity(owner.name).items() <= found.labels.items():
        return None  # Left behind without an owner on purpose (--cascade=orphan): ours to take up again.
    if any((reference.kind, reference.name) == (names.KIND, owner.name) for reference in controllers):
        message = f"{key.kind} {key.name} is still there from an earlier {names.KIND} {owner.name}: it is being removed"
        return Problem(reason=Reason.EARLIER_BEING_REMOVED, message=message)
    message = (
        f"{key.kind} {key.name} exists and belongs to somebody else: rename the {names.KIND}, or delete the {key.kind}"
    )
    return Problem(reason=Reason.NAME_TAKEN, message=message)


def _refusal(error: KubernetesError, key: ChildKey) -> Problem:
    if key.kind in OPTIONAL_CHILD_KINDS and isinstance(error, NotFound):
        group = RESOURCES[key.kind].group
        message = (
            f"the cluster has no {key.kind} ({group}): install its CustomResourceDefinition, or take it out of spec"
        )
        return Problem(reason=Reason.KIND_NOT_INSTALLED, message=message)
    return Problem(reason=Reason.REFUSED_BY_CLUSTER, message=str(error))


async def _delete(delete: Delete, owner: Owner, hands: Hands) -> bool:
    """Return whether the object is gone, or on its way."""
    kind, name = delete.key
    key = Key(owner.namespace, name)
    store: Any = hands.cluster.pods if kind == POD else hands.cluster.children[kind]
    _check_may_write(hands)
    try:
        answer = await hands.writer.delete(
            kind, owner.namespace, name, uid=delete.uid, resource_version=delete.resource_version
        )
    except NotFound:
        answer = {}
    except Conflict as error:
        logger.info("%s/%s: %s %s not deleted, it has changed: %s", owner.namespace, owner.name, kind, name, error)
        return False
    except Refused as error:
        # Not the user's to mend, and nothing else depends on it: say it, and go on.
        logger.warning("%s/%s: %s %s not deleted: %s", owner.namespace, owner.name, kind, name, error)
        return False
    hands.ledger.forget_child(Key(owner.namespace, owner.name), delete.key)
    if answer.get("metadata", {}).get("deletionTimestamp") is not None:
        terminating = msgspec.convert(answer, Pod) if kind == POD else child_of(kind, answer)
        store.remember(hands.cluster.scope_of(owner.namespace), terminating)
    else:
        store.remember_gone(key, delete.uid)
    return True


async def _annotate(annotate: Annotate, owner: Owner, hands: Hands) -> None:
    """Annotate a pod. Where that fails, the kubelet looks at what it has mounted by itself, a minute later."""
    _check_may_write(hands)
    try:
        answer = await hands.writer.annotate(
            POD,
            owner.namespace,
            annotate.pod,
            uid=annotate.uid,
            annotations={annotate.annotation: annotate.value},
        )
    except (NotFound, Conflict, Refused) as error:
        logger.info("%s/%s: %s %s not annotated: %s", owner.namespace, owner.name, POD, annotate.pod, error)
        return
    hands.cluster.pods.remember(hands.cluster.scope_of(owner.namespace), msgspec.convert(answer, Pod))


async def _send_notes(plan: Plan, owner: Owner, hands: Hands) -> None:
    for note in plan.notes:
        if hands.limiter.passes(owner, note, time.monotonic()):
            _check_may_write(hands)
            try:
                await hands.writer.create_event(event_of(owner, note, hands.instance, datetime.now(UTC)))
            except KubernetesError as error:
                # Events are for people; no decision waits for them.
                logger.warning("%s/%s: event not sent: %s", owner.namespace, owner.name, error)


async def _write_status(status: GptOssStatus, owner: Owner, hands: Hands) -> bool:
    """Return whether the status was written. The uid keeps it off a new object of the same name."""
    manifest = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": owner.name, "namespace": owner.namespace, "uid": owner.uid},
        "status": status.model_dump(mode="json", by_alias=True, exclude_none=True),
    }
    _check_may_write(hands)
    try:
        hands.bodies.remember(await hands.writer.apply_status(manifest))
    except (NotFound, Conflict) as error:
        logger.info("%s/%s: status not written, the object is gone: %s", owner.namespace, owner.name, error)
        return False
    return True


def _check_may_write(hands: Hands) -> None:
    if not hands.may_write():
        raise Unavailable("another process of the operator is in charge now: nothing is written from here")
