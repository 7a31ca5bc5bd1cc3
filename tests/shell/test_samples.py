"""What is remembered of replicas, and what of it is news."""

from dataclasses import replace

from gptoss_operator.shell.samples import Result, Samples, ScrapeFailed
from gptoss_runtime.contract import (
    Check,
    CheckResult,
    Phase,
    Verdict,
)
from tests.shell.replicas import READY


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


REFUSED = ScrapeFailed(result=Result.UNREACHABLE, reason="connection refused")


def test_only_what_is_not_a_number_is_news() -> None:
    samples = Samples(fresh_seconds=15)
    assert samples.take("p", READY).news
    numbers = replace(READY, sequence=2, counters={"engine_steps": 9.0}, gauges={}, startup={}, uptime_seconds=99)
    assert samples.take("p", numbers) == (Result.OK, False)
    changes = {
        "start_id": "b",
        "phase": Phase.DRAINING,
        "verdict": Verdict(ready=False, live=True, reason="x"),
        "checks": {Check.MODEL_LOADED: CheckResult(ok=None, detail="vLLM does not answer")},
        "notice": None,
    }
    for number, (name, value) in enumerate(changes.items(), start=3):
        samples.take("p", replace(READY, sequence=number * 10))
        changed = replace(READY, sequence=number * 10 + 1, **{name: value})  # type: ignore[arg-type]  # one of several
        assert samples.take("p", changed) == (Result.OK, True), name


def test_a_check_has_changed_when_three_documents_in_a_row_say_so() -> None:
    samples = Samples(fresh_seconds=15)
    answers = [True, False, False, True, False, False, False, True, False, True, True, True]
    counted, news = [], []
    for number, ok in enumerate(answers):
        checks: dict[str, CheckResult] = {Check.MEMORY_AVAILABLE: CheckResult(ok=ok, detail=f"{ok}")}
        news.append(samples.take("p", replace(READY, sequence=number, checks=checks)).news)
        state = samples.fresh("p")
        assert state is not None
        counted.append(state.checks[Check.MEMORY_AVAILABLE].ok)
    assert counted == [True] * 6 + [False] * 5 + [True]
    assert [number for number, new in enumerate(news) if new] == [0, 6, 11]


def test_another_start_is_believed_at_once() -> None:
    samples = Samples(fresh_seconds=15)
    samples.take("p", READY)
    samples.take("p", replace(READY, start_id="b", checks={}))
    state = samples.fresh("p")
    assert state is not None
    assert state.checks == {}


def test_a_sample_is_of_use_for_a_while() -> None:
    clock = Clock()
    samples = Samples(fresh_seconds=15, clock=clock)
    samples.take("p", READY)

    clock.now += 15
    assert samples.take("p", REFUSED) == (Result.UNREACHABLE, False)
    assert samples.fresh("p") == READY
    assert samples.silent("p") is None

    clock.now += 1
    assert samples.fresh("p") is None
    assert samples.take("p", REFUSED) == (Result.UNREACHABLE, True), "its end is news"
    assert samples.take("p", REFUSED) == (Result.UNREACHABLE, False)
    assert samples.silent("p") == REFUSED

    assert samples.take("p", replace(READY, sequence=2)).news
    clock.now += 16
    assert samples.take("p", replace(READY, sequence=3)).news, "for a moment nothing was known of it"


def test_a_document_that_was_seen_before_does_not_keep_a_sample_fresh() -> None:
    clock = Clock()
    samples = Samples(fresh_seconds=15, clock=clock)
    samples.take("p", replace(READY, sequence=7))
    clock.now += 10
    assert samples.take("p", replace(READY, sequence=7, phase=Phase.STOPPED)) == (Result.OLD, False)
    assert samples.take("p", replace(READY, sequence=1, start_id="b")).result is Result.OK, "a new start counts anew"


def test_what_is_gone_is_forgotten() -> None:
    samples = Samples(fresh_seconds=15)
    samples.take("p", READY)
    samples.take("q", REFUSED)
    samples.keep_only({"r"})
    assert (samples.fresh("p"), samples.silent("q")) == (None, None)
