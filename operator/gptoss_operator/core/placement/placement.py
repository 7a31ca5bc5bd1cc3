"""Which replicas are created and removed now, and where: on demand for the base, on spot beyond it, and in between.

The law is a portfolio: on-demand machines for a base that grows in hostile markets, spot ones over zones for the rest
and a few more against expected losses, and on-demand ones that stand in while spot ones are short. On-demand replicas
are asked for by what spot ones are expected to do, and leave by what spot ones have proven.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from gptoss_operator.core.placement.cover import firm_cover, grant_chance, missing, planned_cover, settled_cover, total
from gptoss_operator.core.placement.cover import presence as present
from gptoss_operator.core.placement.decision import MarketMemory, Placement, PlacementTerms, Remove
from gptoss_operator.core.placement.draft import Draft
from gptoss_operator.core.placement.market import Market, key_of, learn, stuck
from gptoss_operator.core.placement.misplaced import creates_left, replace_misplaced
from gptoss_operator.core.placement.places import CapacityType, Interruption, Place, PlacedReplica, Stage
from gptoss_operator.core.placement.policy import PlacementPolicy
from gptoss_operator.core.placement.portfolio import base_of, extra_of
from gptoss_operator.core.placement.spread import remove_spot, spread_out
from gptoss_operator.core.placement.victims import victim_order
from gptoss_operator.core.placement.words import (
    asked,
    doomed,
    for_on_demand,
    for_spot,
    no_machine,
    surplus,
    told,
    waited,
)
from gptoss_operator.core.placement.zones import (
    best_of,
    free_pools,
    on_demand_place,
    on_demand_price,
)
from gptoss_operator.core.scaling.supply import ColdStart


SERVED_BY_SPOT: Final = "spot replicas serve in its place"


def decide_placement(
    policy: PlacementPolicy,
    target: int,
    *,
    needed_now: float | None,
    replicas: Sequence[PlacedReplica],
    interruptions: Sequence[Interruption],
    refused: Sequence[Place] = (),
    memory: MarketMemory,
    cold_start: ColdStart,
    now: float,
) -> Placement:
    """Return which replicas are created and removed so that `target` of them serve.

    `needed_now` is how many the load of this moment needs; while fewer are ready, on-demand replicas stay until the
    spot ones have machines. `interruptions` and `refused` are those since the last call. Doomed replicas leave at once,
    so that they finish their requests, and their successors are created beside them; lost ones may come back and stay.

    Of ready replicas none is removed that the target needs, hence never the last one unless the target is zero. On
    demand there are never fewer than the base nor more than the target. Ties go by name and slot.
    """
    learnt = learn(
        memory,
        policy,
        replicas=replicas,
        interruptions=interruptions,
        refused=refused,
        cold_start=cold_start,
        now=now,
    )
    if target <= 0:
        removes = tuple(Remove(slot=r.slot, reason=asked(0)) for r in sorted(replicas, key=lambda r: r.slot))
        return Placement(creates=(), removes=removes, terms=PlacementTerms(), reason=asked(0), memory=learnt)
    market = Market(policy=policy, memory=learnt, cold_start=cold_start, now=now)
    draft = Draft(market, target, replicas)
    for replica in sorted(replicas, key=lambda r: r.slot):
        if replica.stage is Stage.DOOMED:
            draft.remove(replica, doomed(replica))
    _move_refused(draft, refused)
    terms = _place(draft, needed_now)
    return Placement(
        creates=tuple(draft.creates),
        removes=tuple(draft.removes),
        terms=terms,
        reason=told(market, target, terms),
        memory=learnt,
    )


def _place(draft: Draft, needed_now: float | None) -> PlacementTerms:
    """Fill `draft`, and return what it is made of."""
    market, policy, target = draft.market, draft.market.policy, draft.target
    held = {draft.key(replica)[0] for replica in draft.spot if replica.stage in (Stage.STARTING, Stage.READY)}
    base = base_of(market, target, draft.offers, held)
    need = target - base
    extra = extra_of(market, need, draft.offers, held, on_demand_price(policy)) if need else 0
    moved = _move_stuck(draft)
    left = creates_left(draft)

    planned = _plan_spot(draft, need + extra)
    cover = total(planned_cover(replica, market) for replica in draft.spot)
    # What is asked for anew has waited for none of the time that the ones before it have.
    cover += total(sorted((grant_chance(market, key_of(policy, place)) for place in planned), reverse=True)[moved:])
    wanted = _on_demand_wanted(draft, base, need, cover)
    left -= _create_on_demand(draft, min(wanted - len(draft.on_demand), left), base)
    for place in planned[: max(0, left)]:
        draft.create(place, for_spot(market, place))

    if not planned:
        spread_out(draft, need + extra)
    remove_spot(draft, need + extra)
    if policy.spot:
        _remove_on_demand(draft, base, need, needed_now)
    else:
        _remove_surplus(draft, draft.on_demand, target, surplus(target))
    replace_misplaced(draft)
    on_demand = sum(create.place.capacity is not CapacityType.SPOT for create in draft.creates) + len(draft.on_demand)
    return PlacementTerms(
        base=base, spot=need + extra, extra=extra, cover=round(cover, 2), on_demand=max(wanted, on_demand)
    )


def _move_refused(draft: Draft, refused: Sequence[Place]) -> None:
    """Take away what was refused a spot machine and can be asked for elsewhere: that took no time, so try there first.

    It is not said which of several in one place was refused: the last that came.
    """
    for place, number in sorted(Counter(refused).items()):
        waiting = [r for r in draft.spot if r.stage is Stage.PENDING and r.place == place]
        for replica in sorted(waiting, key=lambda r: (-r.created_at, -r.slot))[:number]:
            if draft.usable(draft.pending):
                draft.remove(replica, no_machine(replica))


def _move_stuck(draft: Draft) -> int:
    """Take away what waits for a machine in vain and can be asked for elsewhere. Return how many were on spot."""
    market, policy = draft.market, draft.market.policy
    moved = 0
    for replica in [r for r in draft.spot if stuck(policy, market.cold_start, r, market.now)]:
        if policy.fallback or draft.usable(draft.pending):
            moved += draft.remove(replica, waited(market, replica))
    for replica in [r for r in draft.on_demand if stuck(policy, market.cold_start, r, market.now)]:
        if replica.place.pool not in (free := free_pools(market, draft.pending)) and free:
            draft.remove(replica, waited(market, replica))
    return moved


def _plan_spot(draft: Draft, wanted: int) -> list[Place]:
    """Return where spot replicas are to be created."""
    market = draft.market
    number = missing(wanted, total(present(replica, market) for replica in draft.spot)) if wanted else 0
    if not number:
        return []
    pending, in_zone = draft.pending.copy(), draft.spot_in_zone.copy()
    places: list[Place] = []
    for _ in range(number):
        offer = best_of(draft.usable(pending), market, in_zone, wanted)
        if offer is None:
            break
        pending[offer.key] += 1
        in_zone[offer.key[0]] += 1
        places.append(offer.place)
    return places


def _on_demand_wanted(draft: Draft, base: int, need: int, cover: float) -> int:
    """Return how many on-demand replicas there should be, with spot ones that count as `cover`.

    A spot machine that can be expected comes as soon as an on-demand one would. While none is ready, both kinds race,
    and the first that is ready serves.
    """
    if not draft.market.policy.fallback or not need:
        return base
    return min(draft.target, max(base + missing(need, cover), int(not draft.ready)))


def _urgent(draft: Draft, needed_now: float | None) -> int:
    """Return how many on-demand replicas stay until spot ones have their machines."""
    ready = draft.ready
    if needed_now is None or not math.isfinite(needed_now) or needed_now <= ready:
        return int(not ready)
    firm = total(firm_cover(replica, draft.market) for replica in draft.spot)
    return max(missing(needed_now, firm), int(not ready))


def _create_on_demand(draft: Draft, number: int, base: int) -> int:
    for _ in range(number):
        place = on_demand_place(draft.market, draft.pending)
        in_base = len(draft.on_demand) + draft.created(place.capacity) < base
        draft.create(place, for_on_demand(draft.market, place, draft.target, in_base=in_base))
    return max(0, number)


def _remove_on_demand(draft: Draft, base: int, need: int, needed_now: float | None) -> None:
    """Remove on-demand replicas that spot ones have taken the place of.

    One without a machine leaves when the spot ones have theirs; one that starts, when they have settled; a ready one
    only after those that stand in have stood for a while, so that a market that flaps moves nobody to and fro.
    """
    market, policy = draft.market, draft.market.policy
    _remove_surplus(draft, draft.on_demand, draft.target, surplus(draft.target))
    if len(draft.on_demand) <= base:
        return
    urgent = _urgent(draft, needed_now) if policy.fallback and need else 0
    firm, settled = (_held(draft, base, need, count, urgent) for count in (firm_cover, settled_cover))
    # The last that came stand in, whichever of all leaves.
    newest = sorted(draft.on_demand, key=lambda r: (-r.created_at, r.slot))[: len(draft.on_demand) - base]
    ripe = sum(market.now - replica.created_at >= policy.on_demand_min_seconds for replica in newest)
    for replica in sorted(draft.on_demand, key=lambda r: victim_order(r, market)):
        serves = replica.stage is Stage.READY
        keep = firm if replica.stage in (Stage.PENDING, Stage.FAILING) else settled
        if len(draft.on_demand) > keep and (ripe or not serves) and draft.remove(replica, SERVED_BY_SPOT):
            ripe -= serves


def _held(draft: Draft, base: int, need: int, count: Callable[[PlacedReplica, Market], float], urgent: int) -> int:
    """Return how many on-demand replicas stay beside spot ones that count as `count` says."""
    return max(base + missing(need, total(count(replica, draft.market) for replica in draft.spot)), urgent)


def _remove_surplus(draft: Draft, group: Sequence[PlacedReplica], number: int, reason: str) -> None:
    """Remove what `group` has beyond `number`."""
    for replica in sorted(group, key=lambda r: victim_order(r, draft.market))[: max(0, len(group) - number)]:
        draft.remove(replica, reason)
