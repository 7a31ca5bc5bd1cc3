"""One pass over one object: observe, decide, carry out."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from gptoss_operator.core.actions import Plan
from gptoss_operator.core.memory import Memory
from gptoss_operator.core.observation import Manifest, Observation
from gptoss_operator.core.parse import gpu_resource, secret_names
from gptoss_operator.core.plan import make_plan
from gptoss_operator.core.render.options import RenderOptions
from gptoss_operator.core.scaling.load import NOTHING_KNOWN
from gptoss_operator.shell.absence import Absences
from gptoss_operator.shell.carry_out import Hands, Outcome, carry_out
from gptoss_operator.shell.lost import find_lost
from gptoss_operator.shell.observe import LoadOf, observe, owner_of
from gptoss_operator.shell.store import Key
from gptoss_operator.shell.telemetry import Telemetry
from gptoss_runtime.contract import ReplicaState


SOON_SECONDS: Final = 1.0
"""When to look again after something came out otherwise than planned. Not at once: a refusal may differ each time."""
PROBLEM_SECONDS: Final = 30.0
"""When to try again what was refused: what stands in the way is not watched."""

logger = logging.getLogger(__name__)

Planner = Callable[[dict[str, Any], Observation, RenderOptions, datetime, Memory | None], Plan]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """Makes passes."""

    hands: Hands
    options: RenderOptions
    telemetry: Telemetry
    exists: Callable[[Key, str], bool]
    """Whether the object with this name and uid is still there, as far as our own watch knows."""
    state_of: Callable[[str], ReplicaState | None] = lambda _uid: None
    """What the replica in the pod with a uid said of itself a moment ago, or None."""
    hears_replicas: bool = True
    """Whether replicas are asked for that."""
    load_of: LoadOf = lambda _gateways, _replicas, _deployment: NOTHING_KNOWN
    """What gateways and replicas of a deployment have measured."""
    out_of_reach_since: Callable[[str], datetime | None] = lambda _uid: None
    """Since when nobody reaches the replica in the pod with a uid, or None."""
    planner: Planner = make_plan
    absences: Absences = field(default_factory=Absences)
    memories: dict[Key, Memory] = field(default_factory=dict)
    """What the last pass of each object has handed to the next."""

    async def reconcile_once(self, key: Key) -> float | None:
        """Make one pass. Return in how many seconds to make the next at the latest; None: at the next resync.

        Raises KubernetesError when the pass could not be finished.
        """
        body = self.hands.bodies.get(key)
        if body is None or body["metadata"].get("deletionTimestamp") or not self._is_there(key, body):
            # Its children go with it: the cluster's garbage collection follows their owner references.
            return None
        began_at = time.monotonic()
        result = "error"
        try:
            plan, outcome = await self._pass(key, body)
            result = "changed" if _writes(plan) else "quiet"
        finally:
            self.telemetry.count_pass(result, time.monotonic() - began_at)
            if not self._is_there(key, body):
                # It was forgotten during the pass, which has remembered something since.
                self.forget(key)
        if not self._is_there(key, body):
            return None
        self._show(key, body.get("status"), plan)
        return _look_again_in(plan, outcome, has_problems=bool(self.hands.ledger.problems(key)))

    def forget(self, key: Key) -> None:
        """Drop what is remembered of an object, which is gone."""
        self.absences.forget(key)
        self.memories.pop(key, None)

    def _is_there(self, key: Key, body: Manifest) -> bool:
        """Return whether nothing says that the object is gone, or is another one of that name by now."""
        uid = body["metadata"]["uid"]
        known = self.hands.bodies.get(key)
        return known is not None and known["metadata"]["uid"] == uid and self.exists(key, uid)

    def _show(self, key: Key, before: Mapping[str, Any] | None, plan: Plan) -> None:
        # As the API server has it, like the one before: what is not there is absent.
        status = plan.status.model_dump(mode="json", by_alias=True, exclude_none=True) if plan.status else before
        self.telemetry.show_replicas(key, status)
        self.telemetry.scaling.show_terms(key, plan.terms)
        self.telemetry.scaling.show_cost(key, status)
        self.telemetry.rollouts.show(key, status)
        if plan.status is not None and status is not None:
            self.telemetry.scaling.count_decision(key, before, status, plan.limit)
            self.telemetry.rollouts.count_end(key, before, status)

    async def _pass(self, key: Key, body: Manifest) -> tuple[Plan, Outcome]:
        owner = owner_of(body)
        lost = await find_lost(owner, self.hands.cluster, self.hands.ledger, self.hands.writer)
        now = datetime.now(UTC)
        seen = observe(
            owner,
            self.hands.cluster,
            self.hands.ledger,
            lost,
            secret_names(body),
            gpu_resource=gpu_resource(body),
            hears_replicas=self.hears_replicas,
            state_of=self.state_of,
            load_of=self.load_of,
            out_of_reach_since=self.out_of_reach_since,
        )
        seen = replace(seen, podless_since=self.absences.look(key, seen, now))
        plan = self.planner(body, seen, self.options, now, self.memories.get(key))
        # Kept before anything is carried out: what was seen was seen, also where a write fails.
        if plan.memory is not None:
            self.memories[key] = plan.memory
        level = logging.INFO if _writes(plan) else logging.DEBUG
        logger.log(level, "%s/%s: %s", key.namespace, key.name, plan.reason)
        return plan, await carry_out(plan, owner, self.hands)


def _writes(plan: Plan) -> int:
    """Return how many objects the plan writes."""
    return len(plan.applies) + len(plan.deletes) + len(plan.annotates) + (plan.status is not None)


def _look_again_in(plan: Plan, outcome: Outcome, *, has_problems: bool) -> float | None:
    """Return the earliest of the reasons to look again, in seconds."""
    candidates = [plan.look_again_in_seconds] if plan.look_again_in_seconds is not None else []
    if outcome.problems_changed or outcome.conflicts:
        candidates.append(SOON_SECONDS)
    if has_problems:
        candidates.append(PROBLEM_SECONDS)
    return min(candidates, default=None)
