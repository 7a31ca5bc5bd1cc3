"""What is learnt of replicas."""

import math
from dataclasses import replace

import pytest

from gptoss_operator.core.scaling.fit import Fit, learn, line
from gptoss_operator.core.scaling.load import ReplicaLoad, Work
from tests.scaling.builders import BASE_SECONDS, GENERATION, PROMPT, REPLICA_SECONDS, SLOPE_SECONDS, a_replica


WORK = Work(requests=1000, prompt_tokens=1000 * PROMPT, generation_tokens=1000 * GENERATION)


def learnt(*samples: ReplicaLoad, work: Work | None = WORK, itl: float = 0.05, fit: Fit | None = None) -> Fit:
    found = fit or Fit()
    for sample in samples:
        found = learn(found, [sample], work, itl_seconds=itl, elapsed=5.0)
    return found


def at(n: float, base: float, slope: float) -> ReplicaLoad:
    return replace(a_replica(n), tokens_per_second=n / (base + slope * n))


def test_two_loads_tell_base_and_slope_of_a_replica_of_any_speed() -> None:
    found = line(learnt(*[at(n, 0.020, 0.0004) for n in (5, 100) * 50]))
    assert found is not None
    assert found.base == pytest.approx(0.020, rel=0.05)
    assert found.slope == pytest.approx(0.0004, rel=0.05)


def test_one_load_alone_is_continued_in_the_usual_shape() -> None:
    found = line(learnt(*[at(40, BASE_SECONDS, SLOPE_SECONDS)] * 20))
    assert found is not None
    assert found.at(40) == pytest.approx(BASE_SECONDS + 40 * SLOPE_SECONDS)
    assert found.base / found.slope == pytest.approx(80, rel=0.01)


def test_a_request_costs_its_tokens_at_the_speed_of_a_full_replica() -> None:
    assert learnt(a_replica(40.0)).replica_seconds == pytest.approx(REPLICA_SECONDS, rel=0.01)


def test_what_is_wished_per_token_bounds_how_many_run_at_once() -> None:
    fit = learnt(*[a_replica(n) for n in (5.0, 100.0) * 30], itl=0.016)
    assert fit.at_once == pytest.approx(80, rel=0.02)
    assert fit.replica_seconds == pytest.approx(GENERATION * 0.016 / 80, rel=0.02)


def test_a_wish_that_no_replica_can_keep_costs_a_quarter_and_not_the_fleet() -> None:
    fit = learnt(*[a_replica(n) for n in (5.0, 100.0) * 30], itl=0.001)
    assert fit.at_once == pytest.approx(21.25, rel=0.05)


def test_long_requests_are_bounded_by_the_cache() -> None:
    sample = replace(a_replica(10.0), kv_tokens=100_000.0)
    fit = learnt(sample)
    assert fit.at_once == pytest.approx(0.85 * 100_000 / (PROMPT + GENERATION / 2))


def test_too_few_requests_leave_the_cost_as_it_was() -> None:
    before = learnt(*[a_replica(40.0)] * 20)
    few = Work(requests=49, prompt_tokens=1, generation_tokens=49 * 10_000)
    assert learnt(a_replica(40.0), work=few, fit=before).replica_seconds == before.replica_seconds
    assert learnt(a_replica(40.0), work=None, fit=before).replica_seconds == before.replica_seconds


def test_what_was_remembered_is_kept_until_some_samples_are_there() -> None:
    seeded = Fit(replica_seconds=1.5)
    assert learnt(*[a_replica(40.0)] * 5, fit=seeded).replica_seconds == pytest.approx(1.5)
    assert learnt(*[a_replica(40.0)] * 15, fit=seeded).replica_seconds == pytest.approx(REPLICA_SECONDS, rel=0.02)


@pytest.mark.parametrize("speed", [None, 0.0, math.nan, math.inf, -1.0])
def test_a_replica_that_says_no_speed_teaches_nothing(speed: float | None) -> None:
    before = learnt(a_replica(40.0))
    after = learnt(replace(a_replica(40.0), tokens_per_second=speed), fit=before)
    assert after == before


def test_a_replica_that_has_just_got_its_requests_hardly_counts() -> None:
    before = learnt(*[a_replica(n) for n in (5.0, 100.0) * 30])
    after = learnt(replace(a_replica(100.0), tokens_per_second=1.0), fit=before)
    assert before.replica_seconds is not None
    assert after.replica_seconds == pytest.approx(before.replica_seconds, rel=0.1)


def test_samples_of_yesterday_give_way_to_those_of_today() -> None:
    fit = learnt(*[at(n, 0.008, 0.0001) for n in (5, 100) * 50])
    for _ in range(12 * 60 * 6):
        fit = learn(fit, [at(20, 0.016, 0.0002), at(80, 0.016, 0.0002)], WORK, itl_seconds=0.05, elapsed=5.0)
    found = line(fit)
    assert found is not None
    assert found.at(50) == pytest.approx(0.026, rel=0.05)


def test_a_night_without_requests_forgets_nothing() -> None:
    fit = learnt(*[a_replica(40.0)] * 20)
    assert learn(fit, [a_replica(0.0)], None, itl_seconds=0.05, elapsed=8 * 3600.0) == fit
