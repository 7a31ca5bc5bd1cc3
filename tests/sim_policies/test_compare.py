"""Comparisons of cost are made at equal attainment, over paired seeds, with an interval, or not at all."""

import pytest

from gptoss_operator.sim.contract import Result
from gptoss_operator.sim.report.compare import NotComparable, cost_at, mean_interval, paired, saving, student
from tests.sim_policies.builders import a_result


def results(cost: float, attainment: float, seeds: int = 10, spread: float = 0.0) -> list[Result]:
    return [a_result(seed, cost=cost * (1 + spread * ((seed % 3) - 1)), attainment=attainment) for seed in range(seeds)]


def test_pitfall_33_nothing_is_called_cheaper_on_too_few_seeds() -> None:
    with pytest.raises(NotComparable, match="9 seeds say too little; run at least 10"):
        saving({"u": results(50, 0.99, seeds=9)}, results(100, 0.99, seeds=9))


def test_pitfall_33_nothing_is_called_cheaper_at_less_attainment() -> None:
    with pytest.raises(NotComparable, match=r"attainment 99\.00% is not reached, at most 97\.00%"):
        saving({"u": results(50, 0.97)}, results(100, 0.99))


def test_pitfall_33_nothing_is_called_cheaper_over_different_seeds() -> None:
    with pytest.raises(NotComparable, match="2 different sets of seeds"):
        saving({"u": results(50, 0.99)}, [*results(100, 0.99, seeds=9), a_result(77)])


def test_pitfall_33_a_comparison_has_an_interval_around_what_was_measured() -> None:
    comparison = saving({"u": results(60, 0.99, spread=0.1)}, results(100, 0.99))
    assert comparison.attainment == 0.99
    assert comparison.saved.low < comparison.saved.value < comparison.saved.high
    assert comparison.saved.value == pytest.approx(1 - comparison.cost / comparison.other_cost)
    assert comparison.saved.seeds == 10


def test_equal_policies_save_nothing() -> None:
    same = results(60, 0.99, spread=0.1)
    assert saving({"u": same}, same).saved.value == pytest.approx(0)


def test_days_that_are_hard_for_both_widen_no_interval() -> None:
    hard = [a_result(seed, cost=50, attainment=0.9 + seed / 100) for seed in range(10)]
    theirs = [a_result(seed, cost=100, attainment=0.9 + seed / 100) for seed in range(10)]
    saved = saving({"u": hard}, theirs).saved
    assert [saved.low, saved.value, saved.high] == pytest.approx([0.5, 0.5, 0.5])


def test_cost_lies_between_two_points_where_none_has_just_the_attainment() -> None:
    curve = {"low": results(50, 0.98), "high": results(70, 1.0)}
    assert cost_at(curve, 0.99, paired(curve)) == pytest.approx(60)


def test_a_dear_point_of_less_attainment_does_not_count() -> None:
    curve = {"dear": results(500, 0.98), "high": results(70, 1.0)}
    assert cost_at(curve, 0.99, paired(curve)) == pytest.approx(70)


@pytest.mark.parametrize(("degrees", "quantile"), [(9, 2.262), (19, 2.093), (29, 2.045), (99, 1.984)])
def test_quantiles_are_those_of_the_tables(degrees: int, quantile: float) -> None:
    assert student(degrees) == pytest.approx(quantile, abs=0.001)


def test_an_interval_of_equal_values_has_no_width() -> None:
    interval = mean_interval([3.0] * 10)
    assert (interval.low, interval.value, interval.high) == (3.0, 3.0, 3.0)
    assert interval.text(unit=" %") == "3 % [3, 3]"
