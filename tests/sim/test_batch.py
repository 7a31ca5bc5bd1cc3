"""The virtual clock of tokens, against loops that count iterations."""

import heapq
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_operator.sim.batch import NEVER, Batch, Job
from gptoss_operator.sim.contract import ReplicaModel


def run_out(batch: Batch) -> list[tuple[float, Job]]:
    """Let everything end, as the gateway does, and return when each request did."""
    ended: list[tuple[float, Job]] = []
    for _ in range(100_000):
        now = batch.next_change()
        if now == NEVER:
            return ended
        batch.advance(now)
        done = batch.take_ended()
        ended += [(now, job) for job in done]
        while batch.evict():
            pass
        if done:
            batch.readmit(now)
    raise AssertionError("it goes on for ever")


def a_job(number: int, prompt: int, generation: int) -> Job:
    return Job(number, 0.0, prompt, generation, math.inf)


def admitted(model: ReplicaModel, sizes: list[tuple[int, int]]) -> Batch:
    batch = Batch(model)
    for number, (prompt, generation) in enumerate(sizes):
        batch.admit(a_job(number, prompt, generation), 0.0)
    return batch


def by_iterations(model: ReplicaModel, sizes: list[tuple[int, int]]) -> dict[int, float]:
    """Return when each request ends, counting one iteration after the other after all prompts are computed."""
    now = sum(prompt for prompt, _ in sizes) / model.prefill_tokens_per_second
    left = [(generation, number, prompt) for number, (prompt, generation) in enumerate(sizes)]
    heapq.heapify(left)
    ends = {}
    done = 0
    while left:
        kv = sum(prompt + done for _, _, prompt in left)
        now += model.base_seconds + model.per_request_seconds * len(left) + model.per_token_seconds * kv
        done += 1
        while left and left[0][0] <= done:
            ends[heapq.heappop(left)[1]] = now
    return ends


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 300)), min_size=1, max_size=12),
    per_token=st.sampled_from([0.0, 1e-7]),
)
def test_requests_end_when_a_loop_over_iterations_says(sizes: list[tuple[int, int]], per_token: float) -> None:
    model = ReplicaModel(base_seconds=0.01, per_request_seconds=0.001, per_token_seconds=per_token)
    ends = {job.number: now for now, job in run_out(admitted(model, sizes))}
    for number, end in by_iterations(model, sizes).items():
        # The clock lets the cache grow all the time, the loop once per iteration.
        assert ends[number] == pytest.approx(end, rel=1e-3)


def test_requests_that_came_one_after_the_other_have_the_tokens_that_a_loop_gives_them() -> None:
    model = ReplicaModel(base_seconds=0.01, per_request_seconds=0.01, prefill_tokens_per_second=1e12)
    batch = Batch(model)
    batch.admit(a_job(0, 1, 100), 0.0)
    # 50 iterations of 0.02 s alone, then 50 of 0.03 s with the other, which needs 10 more of 0.02 s.
    batch.advance(1.0)
    batch.admit(a_job(1, 1, 60), 1.0)
    assert [(round(now, 6), job.number) for now, job in run_out(batch)] == [(2.5, 0), (2.7, 1)]


def test_a_prompt_holds_up_all_others_for_as_long_as_it_takes() -> None:
    model = ReplicaModel(base_seconds=0.1, per_request_seconds=0.0, prefill_tokens_per_second=1000.0)
    batch = Batch(model)
    batch.admit(a_job(0, 0, 10), 0.0)
    batch.advance(0.5)
    second = a_job(1, 2000, 10)
    batch.admit(second, 0.5)
    assert second.first_at == pytest.approx(2.6)
    assert [(round(now, 6), job.number) for now, job in run_out(batch)] == [(3.0, 0), (3.5, 1)]


@settings(deadline=None, max_examples=60)
@given(sizes=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60)), min_size=1, max_size=12))
def test_a_full_cache_loses_no_request_and_no_token(sizes: list[tuple[int, int]]) -> None:
    model = ReplicaModel(base_seconds=0.01, per_request_seconds=0.0, kv_tokens=100)
    batch = Batch(model)
    waiting = [a_job(number, prompt, generation) for number, (prompt, generation) in enumerate(sizes)]
    ended: list[Job] = []
    while waiting or batch.in_flight:
        now = batch.next_change()
        if waiting and batch.has_room(waiting[0]):
            batch.admit(waiting.pop(0), 0.0 if now == NEVER else batch._now)  # noqa: SLF001 - the time it stands at
            continue
        batch.advance(now)
        done = batch.take_ended()
        ended += done
        while batch.evict():
            pass
        if done:
            batch.readmit(now)
        assert batch.running <= 1 or batch.kv <= 100 + 1e-3
    assert sorted(job.number for job in ended) == list(range(len(sizes)))
    assert batch.tokens == pytest.approx(sum(generation for _, generation in sizes))
    assert batch.kv == 0


def test_the_youngest_request_makes_room_and_its_tokens_are_computed_again() -> None:
    model = ReplicaModel(
        base_seconds=0.1, per_request_seconds=0.0, prefill_tokens_per_second=1000.0, kv_tokens=40, max_num_seqs=8
    )
    batch = Batch(model)
    for number in range(2):
        batch.admit(a_job(number, 0, 30), 0.0)
    # At 20 tokens each the cache is full: the second stops at 2.0 s, and the first ends at 3.0 s. Then the second's 20
    # tokens are computed in 0.02 s, and it has 10 left.
    assert [(round(now, 6), job.number) for now, job in run_out(batch)] == [(3.0, 0), (4.02, 1)]


def test_a_dead_machine_stands_still() -> None:
    batch = admitted(ReplicaModel(base_seconds=0.1, per_request_seconds=0.0), [(0, 100)])
    batch.advance(2.0)
    batch.dead_at = 2.0
    batch.advance(60.0)
    late = a_job(1, 0, 5)
    batch.admit(late, 60.0)
    assert (batch.clock, batch.next_change(), late.first_at) == pytest.approx((20.0, NEVER, NEVER))
