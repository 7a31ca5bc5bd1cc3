"""From counters that begin again to rates."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_operator.core.scaling.rates import (
    BIN_SECONDS,
    KEEP_SECONDS,
    STEP_SECONDS,
    Bins,
    Course,
    Reading,
    continued,
    gained,
    quantile,
    rate,
)


def a_reading(at: float, total: float | None, *, start: str = "a", sequence: int | None = None) -> Reading:
    counters = {} if total is None else {"x": total}
    return Reading(at, start, round(at * 1000) if sequence is None else sequence, counters)


@pytest.mark.parametrize(
    ("after", "gain"),
    [
        (a_reading(15, 130), {"x": 30}),
        (a_reading(15, 7, start="b", sequence=1), {"x": 7}),
        (a_reading(15, 90), {"x": 0}),
        (a_reading(15, 130, sequence=10_000), None),
        (a_reading(9, 130, sequence=99_000), None),
        (a_reading(15, None), None),
        (a_reading(15, math.nan), None),
        (a_reading(15, math.inf), None),
    ],
    ids=["later", "after a reset", "fallen", "again", "clock back", "unknown", "NaN", "infinite"],
)
def test_what_was_counted_between_two_readings(after: Reading, gain: dict[str, float] | None) -> None:
    assert gained(a_reading(10, 100), after, ["x"]) == gain


@st.composite
def a_course(draw: st.DrawFn) -> Course:
    course = Course(points=((0.0, draw(st.sampled_from([0.0, 1e6]))),), from_start=draw(st.booleans()))
    at = 0.0
    for seconds, gain in draw(st.lists(st.tuples(st.floats(0.01, 90), st.floats(0, 1000)), min_size=1, max_size=40)):
        at += seconds
        course = continued(course, at, gain)
    return course


@given(st.lists(a_course(), min_size=1, max_size=3), st.floats(-10, 4000), st.floats(0.1, 600))
def test_pitfall_30_a_rate_is_never_negative_and_never_more_than_was_counted(
    courses: list[Course], begin: float, seconds: float
) -> None:
    found = rate(courses, begin, begin + seconds)
    if found is None:
        assert any(course.known_since > begin for course in courses)
    else:
        most = sum(course.points[-1][1] - course.points[0][1] for course in courses)
        assert 0 <= found * seconds <= most * (1 + 1e-9) + 1e-6


def test_pitfall_30_a_reset_loses_nothing_that_was_counted() -> None:
    readings = [a_reading(t, 2.0 * t) for t in range(0, 300, 5)]
    readings += [a_reading(t, 2.0 * (t - 300), start="b", sequence=t) for t in range(300, 601, 5)]
    course = Course(points=((0.0, 0.0),))
    for before, after in itertools.pairwise(readings):
        gain = gained(before, after, ["x"])
        assert gain is not None
        course = continued(course, after.at, gain["x"])
    assert rate([course], 540, 600) == pytest.approx(2.0)
    # What came between the last reading and the reset is lost: 5 s of it.
    assert course.total(600) == pytest.approx(2.0 * 595)


def test_what_is_not_known_is_no_rate() -> None:
    course = continued(Course(points=((100.0, 5.0),)), 160.0, 60.0)
    assert rate([course], 100, 160) == 1.0
    assert rate([course], 99, 159) is None
    assert rate([course, Course(points=((0.0, 0.0),), from_start=True)], 100, 160) == 1.0
    assert rate([], 0, 1) is None
    assert rate([course], 160, 160) is None


def test_a_gap_is_spread_over_its_time() -> None:
    course = continued(Course(points=((0.0, 0.0),)), 200.0, 100.0)
    assert rate([course], 140, 200) == pytest.approx(0.5)


def test_a_course_is_bounded_however_often_it_is_read() -> None:
    course = Course(points=((0.0, 0.0),), from_start=True)
    for tenth in range(1, 20_000):
        course = continued(course, tenth / 10, 0.1)
    assert len(course.points) <= KEEP_SECONDS / STEP_SECONDS + 3
    assert not course.from_start
    assert rate([course], 1999.9 - KEEP_SECONDS, 1999.9) == pytest.approx(1.0)


def test_bins_hold_what_all_have_counted_of_late() -> None:
    bins = Bins(60)
    assert bins.sums(0) is None
    for at in range(0, 300, 5):
        bins.add(at, {"x": 1.0})
        bins.add(at, {"x": 2.0, "y": 1.0})
    found = bins.sums(295)
    assert found is not None
    assert found["x"] == 3 * found["y"]
    assert found["y"] == pytest.approx(12, abs=BIN_SECONDS / 5)
    assert bins.sums(400) is None


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ({}, 0.95, None),
        ({1.0: 0.0}, 0.95, None),
        ({1.0: 100.0}, 0.95, 0.95),
        ({1.0: 50.0, 2.0: 0.0, 4.0: 50.0}, 0.95, 3.8),
        ({1.0: 50.0, 2.0: 50.0, 4.0: 0.0}, 0.5, 1.0),
        ({1.0: 1.0, math.inf: 9.0}, 0.95, 1.0),
    ],
)
def test_a_quantile_is_found_within_its_bucket(counts: dict[float, float], share: float, value: float | None) -> None:
    assert quantile(counts, share) == (None if value is None else pytest.approx(value))


@given(st.dictionaries(st.floats(0.1, 1e6) | st.just(math.inf), st.floats(0, 1e6)), st.floats(0, 1))
def test_a_quantile_lies_within_the_bounds(counts: dict[float, float], share: float) -> None:
    found = quantile(counts, share)
    finite = [bound for bound in counts if math.isfinite(bound)]
    assert found is None or 0 <= found <= max(finite, default=0.0)
