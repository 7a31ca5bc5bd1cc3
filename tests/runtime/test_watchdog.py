"""Whether an engine that hangs is found out, and one that works never."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.server.watchdog import (
    LONGEST_GAP_SECONDS,
    NOTHING,
    Answer,
    Finding,
    Outcome,
    Probed,
    Watch,
    WatchLimits,
    Work,
    after_health,
    after_numbers,
    after_probe,
    canary_probe_due,
    find,
    probe_due,
)


LIMITS = WatchLimits(stall_seconds=30, restart_seconds=120, probe_seconds=60)
NEW = Watch(alive_at=0.0, probed_at=0.0)
LOOK = 0.5
STALLED = "its engine makes no progress: no step for more than 30 s while it has requests"
UNANSWERED = "its engine does not answer a probe while it is idle"
WRONG = "its answers are wrong: token 1 is another"


def working(step: float, requests: int = 2) -> Work:
    return Work(requests=requests, running=requests, signature=(step, float(requests)))


def looks(
    watch: Watch,
    works: Iterable[Work | None],
    *,
    start: float = 0.0,
    answer: Answer = Answer.UP,
    cpu_seconds: float | None = None,
    held: int | None = None,
) -> Watch:
    for index, work in enumerate(works):
        at = start + index * LOOK
        watch = after_numbers(watch, work, held=held, at=at)
        watch = after_health(watch, answer, at=at, cpu_seconds=cpu_seconds)
    return watch


def a_probe(outcome: Outcome, at: float = 100.0, *, seconds: float = 0.1, disturbed: bool = False) -> Probed:
    reason = "token 1 is another" if outcome is Outcome.WRONG else ""
    return Probed(outcome=outcome, reason=reason, started_at=at - seconds, ended_at=at, disturbed=disturbed)


WAITING = Work(requests=3, running=0, signature=(5.0, 0.0, 3.0))


def frozen(seconds: float) -> list[Work | None]:
    return [working(1.0)] * (int(seconds / LOOK) + 1)


def test_an_engine_with_requests_that_takes_no_step_is_taken_out_and_then_ended() -> None:
    assert find(looks(NEW, frozen(29.5)), LIMITS) == NOTHING
    assert find(looks(NEW, frozen(30)), LIMITS) == Finding(fault=STALLED)
    assert find(looks(NEW, frozen(119.5)), LIMITS) == Finding(fault=STALLED)
    assert find(looks(NEW, frozen(120)), LIMITS) == Finding(
        fault=STALLED, restart="no engine step for 120 s with 2 requests"
    )


def test_requests_that_wait_while_none_runs_are_a_stall_as_well() -> None:
    assert find(looks(NEW, [WAITING] * 61), LIMITS).fault == STALLED


def test_one_step_heals() -> None:
    watch = looks(NEW, frozen(100))
    assert find(watch, LIMITS).fault == STALLED
    assert find(after_numbers(watch, working(2.0), held=2, at=100.5), LIMITS) == NOTHING


def test_a_long_prompt_is_progress_though_vllm_counts_no_step() -> None:
    # Only the cache fills up.
    prefill: list[Work | None] = [
        Work(requests=1, running=1, signature=(7.0, index // 40 * 0.01)) for index in range(400)
    ]
    watch = NEW
    for end in range(1, len(prefill), 7):
        watch = looks(NEW, prefill[:end])
        assert find(watch, LIMITS) == NOTHING


def test_missing_numbers_are_evidence_of_nothing() -> None:
    every_other: list[Work | None] = [working(1.0), None] * 400
    assert find(looks(NEW, every_other), LIMITS) == NOTHING
    assert find(looks(NEW, [None] * 1000), LIMITS) == NOTHING


def test_a_machine_that_was_frozen_as_a_whole_is_no_stalled_engine() -> None:
    watch = looks(NEW, [working(1.0)] * 2)
    watch = after_numbers(watch, working(1.0), held=2, at=1000.0)
    assert watch.stalled_seconds <= LOOK + LONGEST_GAP_SECONDS
    assert find(watch, LIMITS) == NOTHING


def test_a_silent_front_takes_the_replica_out_and_is_ended_only_when_it_does_nothing() -> None:
    silent = Answer.SILENT
    assert find(looks(NEW, [None] * 2, answer=silent, cpu_seconds=7.0), LIMITS) == NOTHING
    fault = "vLLM does not answer health questions in time"
    assert find(looks(NEW, [None] * 3, answer=silent, cpu_seconds=7.0), LIMITS) == Finding(fault=fault)
    dead = looks(NEW, [None] * 242, answer=silent, cpu_seconds=7.0)
    assert find(dead, LIMITS).restart == "no answer to health questions for 120 s and no CPU time used"
    assert find(looks(dead, [None], start=121.5), LIMITS) == NOTHING
    unknown = looks(NEW, [None] * 1000, answer=silent, cpu_seconds=None)
    assert find(unknown, LIMITS) == Finding(fault=fault)


def test_a_front_that_is_overloaded_is_never_ended() -> None:
    watch = NEW
    for index in range(5000):
        # A hundredth of a CPU is what is left to it.
        watch = after_health(watch, Answer.SILENT, at=index * 2.5, cpu_seconds=index * 0.025)
        assert not find(watch, LIMITS).restart


def test_a_front_that_refuses_is_taken_out_at_once() -> None:
    fault = "vLLM refuses health questions: its engine has failed"
    assert find(looks(NEW, [None], answer=Answer.DOWN), LIMITS) == Finding(fault=fault)
    assert find(looks(NEW, [None] * 6, answer=Answer.DOWN), LIMITS).restart == "vLLM's engine has failed"


def test_numbers_that_stayed_behind_are_no_stall_when_nobody_waits() -> None:
    old: list[Work | None] = [working(1.0, requests=1)]
    watch = looks(NEW, old * 1000, held=0)
    assert find(watch, LIMITS) == NOTHING
    assert probe_due(watch, LIMITS, held=0, at=500.0)
    assert not probe_due(looks(NEW, old * 50, held=0), LIMITS, held=0, at=25.0)


def test_a_stall_does_not_heal_because_clients_give_up() -> None:
    stalled = looks(NEW, frozen(40), held=2)
    given_up = looks(stalled, frozen(60), start=40.5, held=0)
    assert find(given_up, LIMITS).fault == STALLED
    assert probe_due(given_up, LIMITS, held=0, at=101.0)
    assert not find(after_probe(given_up, a_probe(Outcome.RIGHT)), LIMITS).fault


IDLE: list[Work | None] = [working(1.0, requests=0)]


@pytest.mark.parametrize(
    ("watch", "held", "at", "due"),
    [
        (looks(NEW, IDLE), 0, 59.0, False),
        (looks(NEW, IDLE), 0, 60.0, True),
        # The engine has requests, or nobody knows.
        (looks(NEW, [working(1.0)]), 2, 60.0, False),
        (looks(NEW, [None]), None, 60.0, False),
        (looks(NEW, [None]), 0, 60.0, True),
        (looks(NEW, IDLE), 1, 60.0, False),
        # The front has requests that the engine knows nothing of: it may be in the first step of one.
        (looks(NEW, IDLE * 10, held=1), 1, 60.0, False),
        (looks(NEW, IDLE * 61, held=1), 1, 60.0, True),
        # Again after one that failed.
        (after_probe(looks(NEW, IDLE), a_probe(Outcome.UNANSWERED)), 0, 100.5, False),
        (after_probe(looks(NEW, IDLE), a_probe(Outcome.UNANSWERED)), 0, 101.0, True),
        (after_probe(looks(NEW, IDLE), a_probe(Outcome.WRONG)), 0, 101.0, True),
        (after_probe(looks(NEW, IDLE), a_probe(Outcome.RIGHT)), 0, 101.0, False),
        (looks(NEW, IDLE, answer=Answer.SILENT), 0, 60.0, False),
    ],
)
def test_probes_an_idle_engine_and_never_one_that_has_requests(
    watch: Watch,
    held: int | None,
    at: float,
    due: bool,  # noqa: FBT001
) -> None:
    assert probe_due(watch, LIMITS, held=held, at=at) is due


def test_an_idle_engine_that_answers_no_probe_is_taken_out_at_once_and_later_ended() -> None:
    watch = after_probe(looks(NEW, IDLE), a_probe(Outcome.UNANSWERED, seconds=10.0))
    assert find(watch, LIMITS) == Finding(fault=UNANSWERED)
    again = looks(watch, IDLE * 219, start=0.5)
    assert find(again, LIMITS) == Finding(fault=UNANSWERED)
    again = looks(watch, IDLE * 220, start=0.5)
    assert find(again, LIMITS).restart == "no answer to a probe for 120 s while idle"
    assert find(after_probe(again, a_probe(Outcome.RIGHT)), LIMITS) == NOTHING
    assert find(after_numbers(again, working(2.0), held=1, at=200.0), LIMITS) == NOTHING


def test_a_probe_that_had_to_wait_for_others_says_nothing() -> None:
    watch = looks(NEW, IDLE)
    assert find(after_probe(watch, a_probe(Outcome.UNANSWERED, disturbed=True)), LIMITS) == NOTHING
    moved = replace(watch, alive_at=95.0)
    assert find(after_probe(moved, a_probe(Outcome.UNANSWERED, seconds=10.0)), LIMITS) == NOTHING


def test_requests_that_wait_for_something_else_are_no_stall_while_the_engine_answers_probes() -> None:
    watch = NEW
    for start in range(0, 600, 15):
        watch = looks(watch, [WAITING] * 30, start=start, held=3)
        assert not probe_due(watch, LIMITS, held=3, at=start + 14.5)
        watch = after_numbers(watch, WAITING, held=3, at=start + 15.0)
        assert find(watch, LIMITS) == NOTHING
        assert probe_due(watch, LIMITS, held=3, at=start + 15.0)
        watch = after_probe(watch, a_probe(Outcome.RIGHT, at=start + 15.0))
    unanswered = after_probe(looks(NEW, [WAITING] * 51, held=3), a_probe(Outcome.UNANSWERED, at=25.0, seconds=10.0))
    assert find(unanswered, LIMITS).fault == UNANSWERED


def test_a_queue_that_was_full_for_a_moment_is_asked_again_at_once() -> None:
    # All others had been answered when the refusal came.
    watch = after_probe(looks(NEW, IDLE), a_probe(Outcome.BUSY))
    assert not probe_due(watch, LIMITS, held=0, at=100.5)
    assert probe_due(watch, LIMITS, held=0, at=101.0)
    assert find(looks(after_probe(watch, a_probe(Outcome.RIGHT, at=101.0)), IDLE * 300, start=101.0), LIMITS) == NOTHING


def test_a_full_queue_before_an_engine_that_knows_of_no_request_is_a_stall() -> None:
    watch = after_probe(looks(NEW, IDLE), a_probe(Outcome.BUSY, at=1.0))
    assert find(watch, LIMITS) == NOTHING
    stuck = looks(watch, IDLE * 242, start=1.0)
    assert find(stuck, LIMITS) == Finding(fault=STALLED, restart="no engine step for 120 s with a full queue")
    assert find(after_numbers(stuck, working(2.0), held=1, at=200.0), LIMITS) == NOTHING


def test_one_wrong_answer_is_a_chance_and_two_are_none() -> None:
    once = after_probe(looks(NEW, IDLE), a_probe(Outcome.WRONG))
    assert find(once, LIMITS) == NOTHING
    twice = after_probe(once, a_probe(Outcome.WRONG))
    assert find(twice, LIMITS) == Finding(fault=WRONG)
    assert find(after_probe(twice, a_probe(Outcome.RIGHT)), LIMITS) == NOTHING
    ended = looks(twice, IDLE * 242, start=100.0)
    assert find(ended, LIMITS).restart == "wrong answers to the probe for 120 s: token 1 is another"


ANSWERS = st.sampled_from(Answer)
OUTCOMES = st.sampled_from([outcome for outcome in Outcome if outcome is not Outcome.WRONG])


@given(st.lists(st.tuples(ANSWERS, st.floats(0.1, 20), st.one_of(st.none(), OUTCOMES), st.booleans()), max_size=300))
def test_an_engine_that_moves_is_never_ended_for_a_stall(
    events: list[tuple[Answer, float, Outcome | None, bool]],
) -> None:
    watch, now, cpu = looks(NEW, [working(-1.0)]), 0.0, 0.0
    for step, (answer, gap, outcome, known) in enumerate(events):
        now, cpu = now + gap, cpu + gap * 0.05
        watch = after_numbers(watch, working(float(step)) if known else None, held=2, at=now)
        watch = after_health(watch, answer, at=now, cpu_seconds=cpu)
        if outcome is not None:
            watch = after_probe(watch, a_probe(outcome, at=now, seconds=min(gap, 10.0)))
        finding = find(watch, LIMITS)
        assert "no engine step" not in finding.restart
        assert "no CPU time" not in finding.restart
        if known and answer is Answer.UP and outcome is None:
            assert finding == NOTHING


@given(st.lists(st.tuples(st.booleans(), st.floats(0.1, 4.9)), min_size=1, max_size=400))
def test_the_clock_of_a_stall_counts_no_more_than_what_was_seen(events: list[tuple[bool, float]]) -> None:
    watch, now, seen, before = NEW, 0.0, 0.0, False
    for known, gap in events:
        now += gap
        watch = after_numbers(watch, working(1.0) if known else None, held=2, at=now)
        seen += gap if known and before else 0.0
        before = known
        assert watch.stalled_seconds == pytest.approx(seen)


@given(st.floats(1, 100), st.floats(0, 300), st.floats(0.1, 2.0))
def test_an_engine_that_stops_is_found_out_within_the_window_and_two_looks(
    stall: float, before: float, look: float
) -> None:
    limits = WatchLimits(stall_seconds=stall, restart_seconds=stall * 4, probe_seconds=60)
    watch, now, step = NEW, 0.0, 0.0
    while now < before:
        now, step = now + look, step + 1
        watch = after_numbers(watch, working(step), held=2, at=now)
        assert find(after_health(watch, Answer.UP, at=now, cpu_seconds=None), limits) == NOTHING
    stopped = now
    watch = after_health(watch, Answer.UP, at=now, cpu_seconds=None)
    while not find(watch, limits).fault:
        now += look
        watch = after_numbers(watch, working(step), held=2, at=now)
    assert now - stopped <= stall + 2 * look


def test_a_canary_is_probed_whatever_it_does() -> None:
    busy = looks(NEW, [working(float(step)) for step in range(29)])
    assert not probe_due(busy, LIMITS, held=2, at=1e9)
    assert not canary_probe_due(busy, every_seconds=15, at=14.9)
    assert canary_probe_due(busy, every_seconds=15, at=15.0)
    assert not canary_probe_due(replace(busy, answer=Answer.SILENT), every_seconds=15, at=15.0)


def test_a_busy_canary_that_refuses_or_keeps_a_probe_waiting_is_no_worse_for_it() -> None:
    for outcome in (Outcome.BUSY, Outcome.UNANSWERED):
        watch = after_probe(NEW, a_probe(outcome, seconds=10, disturbed=True))
        assert watch == replace(NEW, probed_at=100.0)
