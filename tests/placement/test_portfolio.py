"""How many extra replicas are kept, checked against plain enumeration."""

import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_operator.core.placement.portfolio import expected_shortfall


def enumerated(need: int, replicas: int, losses: list[float]) -> float:
    each, left = divmod(replicas, len(losses))
    counts = [each + (index < left) for index in range(len(losses))]
    found = 0.0
    for lost in itertools.product((False, True), repeat=len(losses)):
        chance = math.prod(loss if gone else 1 - loss for gone, loss in zip(lost, losses, strict=True))
        survivors = sum(count for gone, count in zip(lost, counts, strict=True) if not gone)
        found += chance * max(0, need - survivors)
    return found


@given(
    need=st.integers(0, 40),
    extra=st.integers(0, 5),
    losses=st.lists(st.floats(0, 1), min_size=1, max_size=6),
)
@settings(deadline=None)
def test_the_expected_shortfall_is_that_over_all_subsets_of_zones(need: int, extra: int, losses: list[float]) -> None:
    assert math.isclose(
        expected_shortfall(need, need + extra, losses), enumerated(need, need + extra, losses), abs_tol=1e-9
    )


def test_one_more_replica_never_makes_the_shortfall_greater_when_zones_are_alike() -> None:
    losses = [0.1, 0.1, 0.1]
    found = [expected_shortfall(6, 6 + extra, losses) for extra in range(7)]
    assert found == sorted(found, reverse=True)
