"""A policy with a notebook: what it saw and said, for what results do not hold."""

import time
from dataclasses import dataclass, field

from gptoss_operator.core.placement.places import Stage
from gptoss_operator.sim.contract import Orders, View
from gptoss_operator.sim.policies.ours import Ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One decision."""

    at: float
    ready: int
    needed: float | None
    """Replicas that the load of this moment asks for."""
    cold_p90: float
    orders: Orders
    cpu_seconds: float = 0.0
    """That the decision took."""


@dataclass(kw_only=True)
class Watched:
    """Ours, and what it did."""

    policy: Ours
    notes: list[Note] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.policy.name

    @property
    def interval_seconds(self) -> float:
        """Between two decisions."""
        return self.policy.interval_seconds

    @property
    def eager(self) -> bool:
        """Whether it is asked at events, too."""
        return self.policy.eager

    @property
    def drains_on_notice(self) -> bool:
        """Whether its replicas heed notices."""
        return self.policy.drains_on_notice

    def decide(self, view: View) -> Orders:
        """Return what the policy says, and write it down."""
        began = time.thread_time()
        orders = self.policy.decide(view)
        took = time.thread_time() - began
        scale = self.policy.scale
        self.notes.append(
            Note(
                at=view.now,
                ready=sum(replica.stage is Stage.READY for replica in view.replicas),
                needed=None if scale is None else scale.terms.needed,
                cold_p90=view.cold_start.p90_seconds,
                orders=orders,
                cpu_seconds=took,
            )
        )
        return orders


def recovery(notes: list[Note], lost_at: float) -> tuple[float, float]:
    """Return seconds from `lost_at` until 95 % of what was needed then is ready for good, and the cold start's p90.

    What was needed: replicas that the load asked for at `lost_at`, but no more than were ready.
    """
    before = [note for note in notes if note.at <= lost_at]
    after = [note for note in notes if note.at > lost_at and note.at <= lost_at + 1800]
    last = before[-1]
    wanted = 0.95 * min(last.ready, last.needed or last.ready)
    short = [note.at for note in after if note.ready < wanted]
    if not short:
        return 0.0, last.cold_p90
    back = next((note.at for note in after if note.at > short[-1]), lost_at + 1800)
    return back - lost_at, last.cold_p90
