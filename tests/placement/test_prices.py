"""Prices that are known for some places only."""

from gptoss_operator.core.placement.places import CapacityType, Place
from gptoss_operator.core.placement.policy import Prices


ON_DEMAND, SPOT = CapacityType.ON_DEMAND, CapacityType.SPOT


def test_a_price_for_all_zones_is_the_lowest_of_those_that_zones_have() -> None:
    prices = Prices(
        table={
            Place(capacity=ON_DEMAND, zone="a"): 3.0,
            Place(capacity=ON_DEMAND, zone="b"): 2.5,
            Place(capacity=ON_DEMAND, zone="b", pool="big"): 9.0,
        }
    )
    assert prices.assumed(Place(capacity=ON_DEMAND)) == 2.5
    assert prices.assumed(Place(capacity=ON_DEMAND, pool="big")) == 9.0
    assert prices.assumed(Place(capacity=ON_DEMAND, pool="small")) == 2.5
    assert prices.assumed(Place(capacity=SPOT)) == 2.5 * prices.assumed_spot_share
    assert prices.known(Place(capacity=ON_DEMAND)) is None, "it is not said, so it is not reported"
