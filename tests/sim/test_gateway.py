"""Where requests go, and what gateways remember of them."""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_operator.sim.agenda import Agenda
from gptoss_operator.sim.batch import Batch, Job
from gptoss_operator.sim.contract import Orders
from gptoss_operator.sim.engine import simulate
from gptoss_operator.sim.gateway import Gateway
from gptoss_operator.sim.recent import FirstTokens
from gptoss_operator.sim.tally import Tally
from tests.sim.builders import ON_DEMAND, TENTH, Told, a_market, a_scenario, spot


def a_gateway(replicas: int) -> tuple[Gateway, list[Batch], Agenda]:
    agenda = Agenda()
    gateway = Gateway(agenda, Tally(5.0), wake_patience=900.0, on_held=lambda _: None)
    batches = [Batch(replace(TENTH, max_num_seqs=4)) for _ in range(replicas)]
    for batch in batches:
        gateway.start(batch, 0.0)
    return gateway, batches, agenda


def a_job(number: int, at: float = 0.0) -> Job:
    return Job(number, at, 0, 10, at + 60.0)


def test_requests_go_where_there_are_fewest_and_in_turn_where_that_is_equal() -> None:
    gateway, batches, _ = a_gateway(3)
    for number in range(6):
        gateway.arrive(a_job(number), 0.0)
    assert [batch.running for batch in batches] == [2, 2, 2]
    late = Batch(replace(TENTH, max_num_seqs=4))
    gateway.start(late, 0.0)
    for number in range(6, 9):
        gateway.arrive(a_job(number), 0.0)
    assert [batch.running for batch in [*batches, late]].count(3) == 1
    assert late.running >= 2


def test_what_has_no_place_waits_and_is_served_in_turn() -> None:
    gateway, batches, agenda = a_gateway(1)
    jobs = [a_job(number) for number in range(6)]
    for job in jobs:
        gateway.arrive(job, 0.0)
    assert (batches[0].running, gateway.waiting, gateway.in_flight) == (4, 2, 4)
    assert gateway.oldest() is jobs[4]
    agenda.run_until(1.0)
    assert (batches[0].running, gateway.waiting, gateway.oldest()) == (2, 0, None)


@given(
    tokens=st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 100_000)), max_size=60),
    asked=st.lists(st.integers(0, 6000), min_size=1, max_size=6).map(sorted),
)
def test_the_95th_percentile_is_of_the_slots_of_the_last_two_minutes(
    tokens: list[tuple[int, int]], asked: list[int]
) -> None:
    # Tenths of seconds and milliseconds. A token is known a minute before it comes; every fifth never does.
    known = sorted((first / 10 - 60.0, number, first / 10, ms / 1000) for number, (first, ms) in enumerate(tokens))
    first_tokens = FirstTokens()
    coming: list[tuple[float, float]] = []
    for now in (tenths / 10 for tenths in asked):
        while known and known[0][0] <= now:
            _, number, first_at, ttft = known.pop(0)
            job = Job(number, max(now, first_at) - ttft, 0, 1, math.inf)
            job.first_at = max(now, first_at)
            first_tokens.add(job)
            if number % 5 == 0 and job.first_at > now:
                first_tokens.take_back(job)
            else:
                coming.append((job.first_at, ttft))
        end = now // 5 * 5
        counted = sorted(ttft for first_at, ttft in coming if end - 120 <= first_at < end)
        p95 = counted[math.ceil(0.95 * len(counted)) - 1] if counted else None
        assert first_tokens.p95(now) == (None if p95 is None else pytest.approx(p95, rel=0.1, abs=0.001))


def test_the_95th_percentile_is_about_right_and_forgets() -> None:
    first_tokens = FirstTokens()
    for number in range(100):
        job = Job(number, 100.0, 0, 1, math.inf)
        job.first_at = 100.0 + (number + 1) / 10
        first_tokens.add(job)
    assert first_tokens.p95(100.0) is None
    assert first_tokens.p95(120.0) == pytest.approx(9.5, rel=0.1)
    assert first_tokens.p95(226.0) == pytest.approx(9.5, rel=0.1)
    assert first_tokens.p95(300.0) is None


def test_held_requests_of_an_outage_are_served_by_whoever_comes() -> None:
    # The only replica's machine goes without notice; what waits then is held, beyond its usual patience.
    policy = Told(at={10.0: Orders(creates=(spot("a"),)), 510.0: Orders(creates=(ON_DEMAND,))})
    market = a_market([(500.0, "a", 0)], missing=1.0)
    rows = [(501.0, 0, 10), (520.0, 0, 10)]
    result = simulate(a_scenario(rows, initial=0, market=market), policy, 1)
    assert (result.retried, result.held, result.served, result.held_lost) == (1, 2, 2, 0)
    assert result.ttft_p99 == pytest.approx(780.1 - 501.0, abs=0.01)
    # It is no start from zero: there had been a replica.
    assert result.wakes == ()


_PROGRAM = """
from tests.sim.test_no_leak import a_past, ours
from gptoss_operator.sim.engine import simulate
from dataclasses import asdict, replace
print(asdict(replace(simulate(a_past(), ours(), 3), decide_seconds=())))
"""


@pytest.fixture
def run_with_hash_seed() -> Callable[[str], str]:
    root = Path(__file__).parents[2]
    path = os.pathsep.join(str(root / part) for part in ("operator", "runtime", "."))

    def run(hash_seed: str) -> str:
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM], env=environment, cwd=root, capture_output=True, text=True, check=True,
            timeout=50,
        )  # fmt: skip
        return done.stdout

    return run


def test_replay_is_byte_identical_in_another_process(run_with_hash_seed: Callable[[str], str]) -> None:
    assert run_with_hash_seed("1") == run_with_hash_seed("2") != ""
