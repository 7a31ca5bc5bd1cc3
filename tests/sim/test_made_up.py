"""Traffic and markets that are made up, and recorded markets."""

import json
import math
import statistics
from pathlib import Path

import pytest

from gptoss_operator.sim.contract import Market, ZoneChange
from gptoss_operator.sim.errors import ScenarioError
from gptoss_operator.sim.made_up import DAY, daily, synthetic_requests, tiled
from gptoss_operator.sim.market import MarketKind, recorded_market, synthetic_market
from gptoss_operator.sim.models import preset
from gptoss_operator.sim.traffic import Traffic


HOUR = Traffic((second * 3.6, second, 2 * second) for second in range(1000))


def test_a_recording_goes_on_for_as_long_as_wanted_at_its_rate() -> None:
    day = tiled(HOUR, DAY, 1)
    assert len(day) == pytest.approx(24_000, rel=0.01)
    assert list(day.at) == sorted(day.at)
    assert day.at[-1] < DAY
    assert all(generation == 2 * prompt for _, prompt, generation in day.rows)


@pytest.mark.parametrize("scale", [0.3, 2.3])
def test_a_recording_is_thinned_or_laid_over_itself(scale: float) -> None:
    assert len(tiled(HOUR, 36_000.0, 1, scale)) == pytest.approx(10_000 * scale, rel=0.03)


def test_a_days_profile_goes_from_one_to_five_and_keeps_the_mean() -> None:
    day = tiled(HOUR, DAY, 1, 4.0, is_daily=True)
    hours = [sum(hour * 3600 <= at < (hour + 1) * 3600 for at in day.at) for hour in range(24)]
    assert len(day) == pytest.approx(96_000, rel=0.02)
    assert (hours.index(min(hours)), hours.index(max(hours))) in {(h, k) for h in (3, 4) for k in (14, 15, 16, 17)}
    assert max(hours) / min(hours) == pytest.approx(5.0, rel=0.15)
    assert daily(16 * 3600.0) / daily(4 * 3600.0) == pytest.approx(5.0)


def test_the_same_seed_makes_the_same_traffic() -> None:
    assert tiled(HOUR, 9000.0, 1, 1.5) == tiled(HOUR, 9000.0, 1, 1.5) != tiled(HOUR, 9000.0, 2, 1.5)
    one, other = (synthetic_requests(3600.0, peak_per_second=5.0, seed=seed) for seed in (1, 2))
    assert one == synthetic_requests(3600.0, peak_per_second=5.0, seed=1) != other


@pytest.mark.parametrize(("rows", "scale"), [([(0.0, 1, 1)], 1.0), ([(0.0, 1, 1), (1.0, 1, 1)], 0.0)])
def test_nothing_is_made_of_one_request_or_no_scale(rows: list[tuple[float, int, int]], scale: float) -> None:
    with pytest.raises(ScenarioError):
        tiled(Traffic(rows), 100.0, 1, scale)


def test_synthetic_traffic_has_the_shape_that_it_claims() -> None:
    day = synthetic_requests(DAY, peak_per_second=5.0, seed=3)
    assert len(day) == pytest.approx(DAY * 5.0 / (1 + 2 / 3), rel=0.2)
    assert statistics.median(day.prompt_tokens) == pytest.approx(1020, rel=0.05)
    assert statistics.fmean(day.generation_tokens) == pytest.approx(600, rel=0.05)
    assert list(day.at) == sorted(day.at)
    peak = [at for at in day.at if 15 * 3600 <= at < 17 * 3600]
    counts = [0] * 7200
    for at in peak:
        counts[int(at) - 15 * 3600] += 1
    # Poisson counts have a variance of their mean; these are burstier.
    assert statistics.pvariance(counts) > 1.5 * statistics.fmean(counts)


def outages(market: Market, zone: str) -> float:
    """Return the seconds without machines in 30 days."""
    down, since = 0.0, math.inf
    for change in market.changes:
        if change.zone == zone and change.machines == 0:
            since = change.at
        elif change.zone == zone and since < math.inf:
            down, since = down + change.at - since, math.inf
    return down


def test_synthetic_markets_are_labelled_and_get_harsher() -> None:
    markets = [synthetic_market(kind, duration=30 * DAY, seed=1) for kind in MarketKind]
    assert all(market.synthetic and "synthetic" in market.name for market in markets)
    down = [statistics.fmean(outages(market, zone) for zone in market.zones) / (30 * DAY) for market in markets]
    assert down == [pytest.approx(share, rel=0.4) for share in (0.03, 0.17, 0.36)]
    assert [len(market.changes) for market in markets] == sorted(len(market.changes) for market in markets)
    assert all(list(m.changes) == sorted(m.changes, key=lambda change: change.at) for m in markets)


def test_shocks_take_all_zones_at_once() -> None:
    market = synthetic_market(MarketKind.HARSH, duration=30 * DAY, seed=1)
    ends: dict[float, int] = {}
    for change in market.changes:
        if change.machines == 0:
            ends[change.at] = ends.get(change.at, 0) + 1
    assert max(ends.values()) == 3


def recording(tmp_path: Path, name: str, document: object) -> Path:
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_recorded_machines_are_scaled_and_begin_where_wanted(tmp_path: Path) -> None:
    document = {"metadata": {"gap_seconds": 300}, "data": [4, 4, 1, 0, 0, 4, 3, 4]}
    paths = [recording(tmp_path, "east-1", document), recording(tmp_path, "west-2", {**document, "data": [2] * 8})]
    market = recorded_market(paths, duration=1500.0, machines=10, start=450.0)
    assert (market.zones, market.synthetic, market.name) == (("east-1", "west-2"), False, "recorded in east-1, west-2")
    assert market.changes == (
        ZoneChange(at=0.0, zone="east-1", machines=10),
        ZoneChange(at=0.0, zone="west-2", machines=10),
        ZoneChange(at=150.0, zone="east-1", machines=2),
        ZoneChange(at=450.0, zone="east-1", machines=0),
        ZoneChange(at=1050.0, zone="east-1", machines=10),
        ZoneChange(at=1350.0, zone="east-1", machines=7),
    )


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([1, 2], "metadata.gap_seconds is no number above 0: None"),
        ({"metadata": {"gap_seconds": 0}, "data": [1]}, "metadata.gap_seconds is no number above 0: 0"),
        ({"metadata": {"gap_seconds": 300}, "data": [1, "2"]}, "data is no list of numbers"),
        ({"metadata": {"gap_seconds": 300}, "data": [1, 2]}, "holds 600 s, and 1000 s from 0 s on are asked for"),
    ],
)
def test_recordings_that_cannot_be_used_are_named(tmp_path: Path, document: object, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        recorded_market([recording(tmp_path, "zone", document)], duration=1000.0, machines=4)


def test_one_recording_is_one_zone(tmp_path: Path) -> None:
    path = recording(tmp_path, "zone", {"metadata": {"gap_seconds": 300}, "data": [1] * 9})
    with pytest.raises(ScenarioError, match="each with another file name"):
        recorded_market([path, path], duration=1000.0, machines=4)


def test_a_model_that_there_is_not_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(ScenarioError, match="no replica model h200: take one of gpt-oss-120b-h100-tp1, "):
        preset("h200")
