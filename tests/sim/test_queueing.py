"""Queues against formulas that are known."""

import math
import random
from dataclasses import replace

import pytest

from gptoss_operator.sim.contract import ReplicaModel
from gptoss_operator.sim.engine import simulate
from gptoss_operator.sim.models import PRESETS, preset
from tests.sim.builders import Told, a_scenario


ONE_BY_ONE = ReplicaModel(
    base_seconds=0.1, per_request_seconds=0.0, prefill_tokens_per_second=1e12, max_num_seqs=1, kv_tokens=10_000
)
SERVICE = 1.0
"""Ten tokens."""


def poisson(rate: float, duration: float, seed: int) -> list[tuple[float, int, int]]:
    stream = random.Random(seed)  # noqa: S311 - nothing is secret about it
    at, rows = stream.expovariate(rate), []
    while at < duration:
        rows.append((at, 1, 10))
        at += stream.expovariate(rate)
    return rows


@pytest.mark.parametrize("waits", [0.0, 0.5, 0.9])
def test_one_server_with_equal_requests_waits_as_in_m_d_1(waits: float) -> None:
    # P(W <= t) = (1 - rho) exp(lambda t) for t below one service, Erlang 1909; for t = 0 it is PASTA.
    rate = 0.6
    scenario = a_scenario(
        poisson(rate, 100_000.0, 7),
        duration=100_000.0,
        replica=ONE_BY_ONE,
        ttft=0.1 + waits + 1e-6,
        patience=1e6,
    )
    result = simulate(scenario, Told(interval_seconds=1e6), 1)
    assert result.failed <= 5  # those that wait at the end
    assert result.attainment == pytest.approx((1 - rate * SERVICE) * math.exp(rate * waits), abs=0.02)


def test_requests_in_the_system_are_rate_times_time_spent() -> None:
    # Little's law over many servers at once: every request takes one second, and none waits.
    scenario = a_scenario(poisson(20.0, 6000.0, 3), duration=6000.0, replica=replace(ONE_BY_ONE, max_num_seqs=100))
    result = simulate(scenario, Told(interval_seconds=1e6), 1)
    running = [point.running for point in result.points]
    assert sum(running) / len(running) == pytest.approx(20.0, rel=0.1)
    assert result.ttft_p99 == pytest.approx(0.1, abs=0.002)


def test_overload_is_served_at_capacity_and_the_rest_gives_up() -> None:
    scenario = a_scenario(poisson(2.0, 5000.0, 5), duration=5000.0, replica=ONE_BY_ONE, patience=20.0)
    result = simulate(scenario, Told(interval_seconds=1e6), 1)
    assert result.served == pytest.approx(5000, rel=0.01)
    assert result.served + result.failed == result.requests
    assert result.ttft_p99 <= 20.001


@pytest.mark.parametrize(
    ("name", "tokens_per_second", "itl", "at_once"),
    [
        ("gpt-oss-120b-h100-tp1", 2_943, 0.045, 132),
        ("gpt-oss-120b-h100-tp2", 7_649, 0.043, 329),
        ("gpt-oss-120b-h100-tp4", 11_327, 0.0286, 324),
    ],
)
def test_presets_repeat_the_measurement_that_they_were_fitted_to(
    name: str, tokens_per_second: float, itl: float, at_once: int
) -> None:
    rows = ((number / 100, 215, 196) for number in range(60_000))
    replica = replace(preset(name).replica, max_num_seqs=at_once)
    result = simulate(a_scenario(rows, duration=600.0, replica=replica, patience=1e6, ttft=1e6), Told(), 1)
    at_end = result.points[-1].running
    assert (result.served - at_end) * 196 / 600.0 == pytest.approx(tokens_per_second, rel=0.03)
    assert result.itl_p99 == pytest.approx(itl, rel=0.05)


def test_presets_say_where_their_numbers_are_from() -> None:
    assert all("GPUStack" in found.source for found in PRESETS.values())
