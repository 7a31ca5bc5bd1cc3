"""What the status tells of scaling and machines.

A settled fleet writes nothing: sentences are stable, and numbers that move all the time are written every five minutes,
or beside another change.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any, Final

from gptoss_operator.api.status import GptOssStatus
from gptoss_operator.api.status_scaling import CapacityStatus, ColdStartStatus, CostStatus, DecisionStatus, ZoneStatus
from gptoss_operator.core.dates import FORMAT, shown_date
from gptoss_operator.core.decide import Decided
from gptoss_operator.core.fleet import Action, Step
from gptoss_operator.core.memory import Memory
from gptoss_operator.core.placement.cost import cost_now
from gptoss_operator.core.placement.market import Market
from gptoss_operator.core.placement.places import CapacityType, Stage
from gptoss_operator.core.starts import cold_start


SHOWN_EVERY_SECONDS: Final = 300.0
"""How often numbers are written that move all the time."""
DECISIONS_KEPT: Final = 10
ZONES_SHOWN: Final = 64
REASON_LENGTH: Final = 1024
MOVING: Final = ("zones", "cold_start", "cost")
"""Fields of the status that move all the time."""


def told(
    decided: Decided, steps: Sequence[Step], before: GptOssStatus, now: datetime, *, dry_run: bool
) -> dict[str, Any]:
    """Return the fields of the status that are about this decision."""
    decision = _decision(decided, steps, before, now, dry_run=dry_run)
    earlier = before.decisions or ()
    terms = decided.placement.terms
    fresh = decision != before.last_decision
    return {
        "last_decision": decision,
        "decisions": (decision, *earlier)[:DECISIONS_KEPT] if fresh and decision else before.decisions,
        "on_demand": _capacity(decided, CapacityType.ON_DEMAND, terms.on_demand),
        "spot": _capacity(decided, CapacityType.SPOT, terms.spot),
        "zones": _zones(decided) or None,
        "cold_start": _cold_start(decided.memory),
        "cost": _cost(decided),
    }


def calm(status: GptOssStatus, before: GptOssStatus, memory: Memory, now: datetime) -> tuple[GptOssStatus, Memory]:
    """Return `status`, with the moving numbers of `before` where they alone differ and were written a moment ago."""
    at = now.timestamp()
    still = status.model_copy(update={name: getattr(before, name) for name in MOVING})
    quiet = still == before and _avoided(status) == _avoided(before)
    if quiet and 0 <= at - memory.shown_at < SHOWN_EVERY_SECONDS:
        return before, memory
    return status, replace(memory, shown_at=at, decision=status.last_decision)


def terms_of(decided: Decided) -> Mapping[str, float]:
    """Return the numbers that the decision was made of, by name. What is not known is absent."""
    return {"target": float(decided.target), **_numbers(decided)}


def _decision(
    decided: Decided, steps: Sequence[Step], before: GptOssStatus, now: datetime, *, dry_run: bool
) -> DecisionStatus | None:
    """Return the last decision: a new one if the number or the places change, else the one of before.

    What the cluster refuses is tried again and again: that is no new decision.
    """
    last = decided.memory.decision or before.last_decision
    # What is not chosen by us is no decision: a replica that somebody else has deleted is made anew.
    ours = decided.places.spot or before.spot or decided.fates
    moves = [s for s in steps if s.action in (Action.CREATE, Action.REMOVE)] if ours and not dry_run else []
    previous = last.replicas if last else before.desired_replicas or 0
    if last and decided.target == last.replicas and dry_run == bool(last.dry_run) and not moves:
        return last
    reason = _reason(decided, moves)[:REASON_LENGTH]
    if last and (last.replicas, last.reason, bool(last.dry_run)) == (decided.target, reason, dry_run):
        return last
    return DecisionStatus(
        at=f"{now:{FORMAT}}",
        previous=previous,
        replicas=decided.target,
        reason=reason,
        terms={name: f"{number:.3g}" for name, number in _numbers(decided).items()},
        dry_run=dry_run or None,
    )


def _reason(decided: Decided, moves: Iterable[Step]) -> str:
    """Return why so many, why there, and of each replica that comes or goes what this does not say."""
    sentences = [decided.reason]
    if decided.places.spot:
        # The number that a person asks for is a part of it.
        earlier = [] if decided.placement.reason.startswith(decided.reason) else sentences
        sentences = [*earlier, decided.placement.reason]
    sentences += [move.reason for move in moves if decided.places.spot or move.slot in decided.fates]
    sentences += [decided.fates[slot].words for slot in decided.silent]
    return "; ".join(dict.fromkeys(sentences))


def _numbers(decided: Decided) -> dict[str, float]:
    found: dict[str, float] = {}
    for terms in (
        decided.scale.terms if decided.scale else None,
        decided.placement.terms if decided.places.spot else None,
    ):
        for part in fields(terms) if terms else ():
            number = getattr(terms, part.name)
            if number is not None:
                found[_camel(part.name)] = float(number)
    return found


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.title() for word in others)


def _capacity(decided: Decided, capacity: CapacityType, desired: int) -> CapacityStatus | None:
    if not decided.places.spot:
        return None
    ready = sum(r.stage is Stage.READY and r.place.capacity is capacity for r in decided.placed)
    return CapacityStatus(desired=desired, ready=ready)


def _zones(decided: Decided) -> tuple[ZoneStatus, ...]:
    if not decided.places.spot:
        return ()
    memory = decided.placement.memory
    market = Market(
        policy=decided.places, memory=memory, cold_start=cold_start(decided.memory.starts), now=memory.clock
    )
    shown = (
        ZoneStatus(
            zone=zone,
            pool=pool,
            interruptions_per_hour=f"{market.hazard((zone, pool)):.2f}",
            exposure_hours=f"{known.exposure_hours:.1f}",
            events=f"{known.events:.2f}",
            suspect_until=shown_date(known.suspect_until),
            blocked_until=shown_date(known.blocked_until),
        )
        for (zone, pool), known in sorted(memory.zones.items())
    )
    return tuple(zone for zone, _ in zip(shown, range(ZONES_SHOWN), strict=False))


def _avoided(status: GptOssStatus) -> set[tuple[str, str, str | None, str | None]]:
    """Return which zones are avoided until when: that is news, whereas the other numbers of a zone only move."""
    return {
        (zone.zone, zone.pool, zone.suspect_until, zone.blocked_until)
        for zone in status.zones or ()
        if zone.suspect_until or zone.blocked_until
    }


def _cold_start(memory: Memory) -> ColdStartStatus | None:
    if not memory.starts:
        return None
    known = cold_start(memory.starts)
    return ColdStartStatus(
        p50_seconds=round(known.p50_seconds), p90_seconds=round(known.p90_seconds), starts=known.starts
    )


def _cost(decided: Decided) -> CostStatus | None:
    """Return what the replicas cost. None where there is no price for one of them."""
    found = cost_now(decided.memory.cost, decided.memory.cost.clock or 0.0)
    if not decided.places.prices.table or found.hourly is None:
        return None
    return CostStatus(
        hourly=f"{found.hourly:.2f}",
        per_million_output_tokens=_dollars(found.per_million_output_tokens),
        saved_last_day=_dollars(found.saved_last_day),
    )


def _dollars(amount: float | None) -> str | None:
    return None if amount is None else f"{amount:.2f}"
