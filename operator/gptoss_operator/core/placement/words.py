"""What placements say of themselves. Sentences change with a placement, not with every second."""

from gptoss_operator.core.placement.decision import PlacementTerms
from gptoss_operator.core.placement.market import Market, Standing, key_of, patience_seconds
from gptoss_operator.core.placement.places import CapacityType, Place, PlacedReplica


def asked(target: int) -> str:
    """Return how many replicas are asked for."""
    if target == 0:
        return "no replica is asked for"
    return "1 replica is asked for" if target == 1 else f"{target} replicas are asked for"


def surplus(target: int) -> str:
    """Return why a replica that nothing is wrong with leaves."""
    return f"{asked(target)}, and there are more"


def doomed(replica: PlacedReplica) -> str:
    """Return why a doomed replica leaves."""
    return f"its machine{_in(replica.zone)} is taken away: it finishes its requests"


def no_machine(replica: PlacedReplica) -> str:
    """Return why a replica leaves that was refused a machine."""
    kind = "spot machine" if replica.place.capacity is CapacityType.SPOT else "machine"
    return f"no {kind} came{_in(replica.place.zone)}{_of(replica.place.pool)}"


def waited(market: Market, replica: PlacedReplica) -> str:
    """Return why a replica leaves that has waited for a machine for too long."""
    return f"{no_machine(replica)} for {patience_seconds(market.policy, market.cold_start):.0f} s"


def for_spot(market: Market, place: Place) -> str:
    """Return why a spot replica is created where it is."""
    hazard = f"{market.hazard(key_of(market.policy, place)):.1f} interruptions/h"
    return ", ".join((f"spot{_in(place.zone)}{_of(place.pool)}", *_price(market, place), hazard))


def for_on_demand(market: Market, place: Place, target: int, *, in_base: bool) -> str:
    """Return why a replica is created that is not on a spot machine."""
    if not market.policy.spot:
        return f"{asked(target)}{_of(place.pool)}"
    why = "for the base" if in_base else "while spot machines are short"
    return ", ".join((f"on demand{_of(place.pool)} {why}", *_price(market, place)))


def told(market: Market, target: int, terms: PlacementTerms) -> str:
    """Return the placement in one sentence."""
    if not market.policy.spot:
        return asked(target)
    parts = [f"{terms.on_demand} on demand", f"{terms.spot} on spot"]
    if terms.on_demand > terms.base:
        parts[0] += f" ({terms.on_demand - terms.base} in place of spot)"
    if terms.extra:
        parts[1] += f" ({terms.extra} against losses)"
    sentence = f"{asked(target)}: {' and '.join(parts)}"
    for standing, words in (
        (Standing.SUSPECT, "machines were just taken away"),
        (Standing.BLOCKED, "no machine came"),
    ):
        zones = sorted(
            _name(zone, pool) for zone, pool in market.memory.zones if market.standing((zone, pool)) is standing
        )
        if zones:
            sentence += f"; {words}: {', '.join(zones)}"
    return sentence


def _name(zone: str, pool: str) -> str:
    return " ".join(part for part in (zone, pool) if part) or "spot"


def _price(market: Market, place: Place) -> tuple[str, ...]:
    price = market.policy.prices.known(place)
    return () if price is None else (f"{price:.2f} $/h",)


def _in(zone: str) -> str:
    return f" in {zone}" if zone else ""


def _of(pool: str) -> str:
    return f" of pool {pool}" if pool else ""
