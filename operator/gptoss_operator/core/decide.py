"""How many replicas, and on which machines: from the spec and what is seen to one decision, with what it remembers."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gptoss_operator.api.spec import GptOssSpec, desired_replicas, follows_load
from gptoss_operator.api.status import GptOssStatus
from gptoss_operator.core.fate import Fate
from gptoss_operator.core.fleet import Replica, replaced_by
from gptoss_operator.core.interruptions import news_of
from gptoss_operator.core.memory import Memory, SpotPod
from gptoss_operator.core.observation import Observation
from gptoss_operator.core.placed import fates_of, placed_replicas, priced_places
from gptoss_operator.core.placement.cost import charge
from gptoss_operator.core.placement.decision import Placement, Remove
from gptoss_operator.core.placement.market import ON_DEMAND_ZONE
from gptoss_operator.core.placement.node_facts import ZONE_LABELS, zone_of
from gptoss_operator.core.placement.placement import decide_placement
from gptoss_operator.core.placement.places import PlacedReplica
from gptoss_operator.core.placement.policy import PlacementPolicy
from gptoss_operator.core.placement.supply import supply_of
from gptoss_operator.core.placement.words import asked
from gptoss_operator.core.policies import placement_policy, prices_of, scaling_policy
from gptoss_operator.core.render.options import RenderOptions
from gptoss_operator.core.scaling.decision import ScaleDecision, ScalingMemory
from gptoss_operator.core.scaling.policy import ScalingPolicy
from gptoss_operator.core.scaling.replicas import decide_replicas
from gptoss_operator.core.starts import cold_start, watch_starts
from gptoss_operator.core.tokens import count_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What was decided, from what, and what is remembered of it."""

    target: int
    """Replicas that are wanted. Spot machines may bring a few more, against losses."""
    reason: str
    """Why so many."""
    policy: ScalingPolicy
    scale: ScaleDecision | None
    """None: the number is set by hand."""
    places: PlacementPolicy
    placement: Placement
    placed: tuple[PlacedReplica, ...]
    fates: Mapping[int, Fate]
    """Why replicas are no supply any more, by slot."""
    silent: tuple[int, ...]
    """Slots of replicas that nobody reaches since this pass."""
    memory: Memory


def decide(
    spec: GptOssSpec,
    *,
    seen: Observation,
    replicas: Sequence[Replica],
    goal: str,
    rolling: bool,
    gpus: int,
    options: RenderOptions,
    before: GptOssStatus,
    memory: Memory,
    now: datetime,
) -> Decided:
    """Return how many replicas there should be, and where.

    `goal` is the revision that they are to be of, `rolling` whether others are being replaced, `gpus` what one takes,
    `before` the last status. A replica whose predecessor is still there counts only when that one is gone.
    """
    at = now.timestamp()
    prices = prices_of(options.prices, spec.prices, gpus)
    fates = fates_of(replicas, seen, spec, now)
    placed = placed_replicas(replicas, fates, seen, spec, now)
    news = news_of(placed, replicas, fates, seen=seen, memory=memory, now=now)
    memory = watch_starts(seen.replica_pods, news.memory)
    places = placement_policy(spec, prices=prices, zones=_zones(spec, placed, seen, memory))
    pending = {new for new, old in replaced_by(replicas).items() if old not in fates}
    counted = tuple(replica for replica in placed if replica.slot not in pending)
    policy, start = scaling_policy(spec, gpus), cold_start(memory.starts)
    scale = None
    if follows_load(spec):
        supply = supply_of(
            counted,
            outdated=rolling,
            cold_start=start,
            replica_hourly_cost=places.dearest(),
            now=at,
        )
        if places.spot and memory.scaling.since is None and before.last_decision:
            # Spot replicas beyond the target are not what a new process has to keep.
            supply = replace(supply, existing=min(supply.existing, before.last_decision.replicas))
        scale = decide_replicas(policy, seen.load, supply, memory.scaling, at)
        memory = replace(memory, scaling=scale.memory)
    target = scale.replicas if scale else desired_replicas(spec)
    if scale is None:
        # What the load asked for earlier is old when it is followed again. What replicas can do stays known.
        learnt = ScalingMemory(target=target, fit=memory.scaling.fit, week=memory.scaling.week)
        memory = replace(memory, scaling=learnt)
    placement = decide_placement(
        places,
        target,
        needed_now=scale.terms.fully_used if scale else None,
        replicas=counted,
        interruptions=news.interruptions,
        memory=memory.market,
        cold_start=start,
        now=at,
    )
    placement = replace(placement, removes=_chosen(placement.removes, replicas, fates, goal, pending))
    paid = priced_places(placed, replicas, seen, spec)
    tokens = count_tokens(seen.replica_states, {pod.metadata.uid for pod in seen.replica_pods}, memory.tokens)
    return Decided(
        target=target,
        reason=scale.reason if scale else asked(target),
        policy=policy,
        scale=scale,
        places=places,
        placement=placement,
        placed=placed,
        fates=fates,
        silent=news.silent,
        memory=replace(
            memory,
            market=placement.memory,
            spot_pods=_without(memory.spot_pods, placement.removes, replicas),
            tokens=tokens,
            cost=charge(memory.cost, paid, prices, tokens.total, at),
        ),
    )


def _chosen(
    removes: Sequence[Remove],
    replicas: Sequence[Replica],
    fates: Mapping[int, Fate],
    goal: str,
    pending: Collection[int],
) -> tuple[Remove, ...]:
    """Return `removes`, with a ready replica of an old revision in place of one of the new, where they are alike.

    Else it would be replaced a moment later. One that is doomed goes itself, with the words of whoever announced it.
    """
    ready = {r.slot: r for r in replicas if r.ready and r.slot not in fates and r.slot not in pending}
    old = {slot for slot, replica in ready.items() if replica.revision != goal}
    spare = sorted(old - {remove.slot for remove in removes}, reverse=True)
    chosen = []
    for remove in removes:
        victim, fate = ready.get(remove.slot), fates.get(remove.slot)
        alike = [slot for slot in spare if victim and ready[slot].place == victim.place]
        if fate:
            chosen.append(replace(remove, reason=f"{fate.words}: it finishes its requests"))
        elif alike and remove.slot not in old:
            spare.remove(alike[0])
            chosen.append(replace(remove, slot=alike[0]))
        else:
            chosen.append(remove)
    return tuple(chosen)


def _without(
    spot_pods: Mapping[str, SpotPod], removes: Iterable[Remove], replicas: Iterable[Replica]
) -> Mapping[str, SpotPod]:
    """Return `spot_pods` without those that are removed: that their machines go as well is no news."""
    slots = {remove.slot for remove in removes}
    leaving = {r.pod.metadata.uid for r in replicas if r.slot in slots and r.pod is not None}
    return {uid: pod for uid, pod in spot_pods.items() if uid not in leaving}


def _zones(spec: GptOssSpec, placed: Iterable[PlacedReplica], seen: Observation, memory: Memory) -> frozenset[str]:
    """Return the zones that are known: of nodes and prices, and those that were used, whose last node may be gone."""
    chosen = spec.gpu.node_selector.get(ZONE_LABELS[0])
    if chosen:
        return frozenset({chosen})
    known = {zone_of(node.metadata.labels) for node in seen.nodes.values()}
    known |= {price.zone or "" for price in spec.prices}
    known |= {zone for zone, _ in memory.market.zones}
    known |= {replica.place.zone for replica in placed}
    return frozenset(known - {"", ON_DEMAND_ZONE})
