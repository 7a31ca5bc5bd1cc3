"""Decisions in words that a person understands."""

from types import MappingProxyType
from typing import Final

from gptoss_operator.core.scaling.bounds import Bounds
from gptoss_operator.core.scaling.decision import Limit, Terms
from gptoss_operator.core.scaling.supply import Supply


STAYS: Final = MappingProxyType(
    {
        Limit.NONE: "as many as the load has needed lately",
        Limit.UP_STEP: "the load needs more, which scaling.up allows only in steps",
        Limit.DOWN_STEP: "the load needs fewer, which scaling.down allows only in steps",
        # The need falls and rises a little all the time: that is no news.
        Limit.STABILIZATION: "as many as the load has needed lately",
        Limit.BUSY: "fewer could not hold the requests that run",
        Limit.UNSETTLED: "none is removed while another is replaced or about to go",
        Limit.NO_EVIDENCE: "none is removed while gateways or replicas do not say what they do",
        Limit.JUST_STARTED: "none is removed until the load has been watched for long enough",
    }
)
"""Why the number stays. Without numbers that move: the sentence is the same from one call to the next."""
LITTLE: Final = 0.05
"""Replicas below which a term is not worth a word."""


def explained(terms: Terms, limit: Limit, bounds: Bounds, supply: Supply, *, before: int, after: int) -> str:
    """Return why the number goes from `before` to `after`."""
    is_fixed = bounds.low == bounds.high and bounds.low_name != bounds.high_name
    if is_fixed:
        return f"{after}: {bounds.low_name} and {bounds.high_name} are both {after}"
    at_most = limit is bounds.high_limit
    if after > before:
        return f"{before} to {after}: {_raised(terms, limit, bounds)}{_starting(supply, after)}"
    if after < before:
        return f"{before} to {after}: {_lowered(terms, after, bounds.high_name if at_most else '')}"
    if at_most:
        return f"{after}: {bounds.high_name} allows no more, the load needs more"
    if limit is Limit.MIN_REPLICAS:
        return f"{after}: {bounds.low_name}, the load needs no more"
    return "0: nobody asks" if not after and limit is Limit.NONE else f"{after}: {STAYS[limit]}"


def _raised(terms: Terms, limit: Limit, bounds: Bounds) -> str:
    """Return what asks for more, and what kept it from being more still."""
    if limit is Limit.MIN_REPLICAS:
        return bounds.low_name
    said = _needs(terms)
    if limit is Limit.UP_STEP:
        return f"{said}; scaling.up allows no more at once"
    return f"{said}; {bounds.high_name} allows no more" if limit is bounds.high_limit else said


def _needs(terms: Terms) -> str:
    """Return the terms that count, the work first, then the one that asks for the most."""
    work = []
    if terms.rate is not None and terms.rate >= LITTLE and terms.arrivals is not None:
        work.append(f"{terms.arrivals:.3g} requests/s need {_number(terms.rate)}")
    if terms.backlog is not None and terms.backlog >= LITTLE and terms.waiting is not None:
        more = " more" if work else ""
        work.append(f"{terms.waiting:.0f} waiting need {_number(terms.backlog)}{more}")
    others = (
        (terms.kv_cache, "the key-value cache in use needs"),
        (terms.ttft, "first tokens that come too late need"),
        (terms.concurrency, "the requests at once need"),
        (terms.last_week, "this time last week needed"),
    )
    most, words = max(((need or 0.0, words) for need, words in others), key=lambda pair: pair[0])
    whole = (terms.rate or 0.0) + (terms.backlog or 0.0)
    if most > whole:
        return f"{words} {_number(most)}"
    if work:
        return ", ".join(work)
    if terms.waiting:
        return "requests wait"
    return "requests arrive" if terms.arrivals else "scaling.fallbackReplicas, as nothing is known of the load"


def _lowered(terms: Terms, after: int, most: str) -> str:
    if most:
        return f"{most} allows no more"
    if after == 0:
        return "nobody has asked for scaling.idleSeconds"
    needed = "" if terms.needed is None else f" ({_number(terms.needed)} now)"
    return f"the load has needed no more for a while{needed}"


def _starting(supply: Supply, after: int) -> str:
    """Return how many of those that are wanted start already."""
    already = min(supply.starting, max(0, after - supply.ready))
    return f"; {already} of them start{'s' if already == 1 else ''} already" if already else ""


def _number(value: float) -> str:
    return f"{value:.1f}"
