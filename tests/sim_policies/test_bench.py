"""The benchmark of scaling judges what it may, and says so where it may not."""

from dataclasses import replace

import pytest

from e2e.bench.autoscaling.curves import Curves, chosen
from e2e.bench.autoscaling.families import OURS, SPOTHEDGE, STATIC, Family
from e2e.bench.autoscaling.judge import FIXED, MEDIUM, Finding, judge
from e2e.bench.autoscaling.special import IDLE, NOTICE
from e2e.bench.autoscaling.watched import Note, recovery
from e2e.bench.autoscaling.world import World, quick
from e2e.bench.rows import Row
from gptoss_operator.sim.contract import Orders, Result
from gptoss_operator.sim.policies.static import Static
from tests.sim_policies.builders import a_result


def days(cost: float, attainment: float = 0.995, seeds: int = 10) -> list[Result]:
    return [a_result(seed, cost=cost + seed / 10, attainment=attainment) for seed in range(seeds)]


def findings(changed: Curves | None = None) -> dict[str, Finding]:
    curves: Curves = {
        (MEDIUM, OURS): {"u": days(40.0)},
        (FIXED, STATIC): {"9": days(100.0)},
        (MEDIUM, SPOTHEDGE): {"q": days(50.0, attainment=0.98)},
    }
    return {finding.bar.name: finding for finding in judge(curves | (changed or {}), [])}


def test_the_value_of_a_comparison_is_the_worse_end_of_its_interval() -> None:
    bar = findings()["cheaper than static, medium"].bar
    assert bar.value == pytest.approx(59.8, abs=0.3)
    assert bar.met


def test_a_peer_that_never_reaches_the_bar_is_compared_at_the_most_that_it_reaches() -> None:
    found = findings()["cheaper than SpotHedge, medium"]
    assert "at 98.00%" in found.note
    assert found.bar.met


def test_static_is_never_compared_below_the_bar() -> None:
    fixed = findings({(FIXED, STATIC): {"9": days(100.0, attainment=0.97)}})["cheaper than static, medium"]
    assert fixed.bar.value is None
    assert "no fleet of fixed size reaches 99%" in fixed.note
    ours = findings({(MEDIUM, OURS): {"u": days(40.0, attainment=0.97)}})["cheaper than static, medium"]
    assert ours.bar.value is None
    assert "is not reached" in ours.note


def test_fleets_are_also_compared_as_they_are_at_the_setting_whose_first_tokens_are_no_later() -> None:
    late = [replace(result, ttft_p99=9.0) for result in days(30.0)]
    found = findings({(MEDIUM, OURS): {"late": late, "soon": days(40.0), "dear": days(50.0)}})
    saved = found["the same, each at 99% or more, medium"]
    assert saved.bar.value == pytest.approx(59.8, abs=0.3)
    assert "99.50%" in saved.note
    assert found["p99 of TTFT beyond static's, medium"].bar.met
    none_soon = findings({(MEDIUM, OURS): {"late": late}})
    assert not none_soon["p99 of TTFT beyond static's, medium"].bar.met


def test_what_was_not_run_is_not_met() -> None:
    found = findings()["cheaper than static, recorded"]
    assert (found.bar.value, found.bar.met, found.note) == (None, False, "not run")


def test_the_worst_seed_counts_for_losses() -> None:
    rows = [
        Row(item=f"{NOTICE} 120 s", subject="ours", round=seed, values={"lost": lost})
        for seed, lost in ((1, 0.0), (2, 3.0))
    ]
    rows.append(Row(item=IDLE, subject="ours", round=1, values={"cost": 24.0, "held_lost": 0.0}))
    found = {finding.bar.name: finding.bar for finding in judge({}, rows)}
    assert found["broken off with 120 s of notice"].value == 3.0
    assert not found["broken off with 120 s of notice"].met
    assert found["idle-heavy: cheaper than one on demand"].value == pytest.approx(90.0)


def test_settings_are_chosen_by_what_they_cost_beside_the_others() -> None:
    policies = {name: Static(replicas=1) for name in ("good", "dear", "low", "high")}
    curve = {
        "good": days(50.0, 0.98),
        "dear": days(90.0, 0.98),
        "low": days(10.0, 0.5),
        "high": days(60.0, 0.995),
    }
    kept = chosen(Family(name="x", points=policies), curve, 2)
    assert set(kept.points) == {"good", "high"}


def test_recovery_is_when_the_needed_capacity_is_there_for_good() -> None:
    def note(at: float, ready: int) -> Note:
        return Note(at=at, ready=ready, needed=9.4, cold_p90=300.0, orders=Orders())

    notes = [note(100, 10), note(110, 6), note(200, 9), note(210, 8), note(300, 9), note(310, 10)]
    assert recovery(notes, 105.0) == (300 - 105.0, 300.0)
    assert recovery([note(100, 10), note(110, 10)], 105.0) == (0.0, 300.0)


def test_settings_are_chosen_on_other_days_than_they_are_judged_on() -> None:
    for world in (World(), quick(None, ())):
        assert not set(world.tuning) & set(world.evaluation)
    assert len(World().evaluation) >= 10
