"""When a replica will be ready, as far as anyone can know."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.activator.hold.cold_start import REMEMBERED_STARTS, Outlook, StartTimes, look_ahead
from gptoss_runtime.activator.hold.refusal import LONGEST_SECONDS, UNKNOWN_SECONDS, retry_after_seconds
from gptoss_runtime.contract import Gauge, Phase, ReplicaState, Verdict


def a_state(phase: Phase, uptime_seconds: float = 40.0, **changes: object) -> ReplicaState:
    verdict = Verdict(ready=phase is Phase.READY, live=True, reason="")
    base: dict[str, object] = {"start_id": "a", "sequence": 1, "phase": phase, "verdict": verdict}
    return ReplicaState(**{**base, "uptime_seconds": uptime_seconds, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("typical", "outlook"),
    [
        (75.0, Outlook(seconds=35.0, text="about 35 s to go")),
        (30.0, Outlook(seconds=None, text="longer than the usual 30 s")),
        (None, Outlook(seconds=None, text="how long it takes is not known yet")),
    ],
)
def test_the_furthest_replica_decides(typical: float | None, outlook: Outlook) -> None:
    states = [a_state(Phase.STARTING, 2.0), None, a_state(Phase.LOADING, 40.0)]
    begin = "no replica is ready yet; 2 of 3 starting, loading the model for 40 s, "
    assert look_ahead(states, typical) == Outlook(seconds=outlook.seconds, text=begin + outlook.text)


@pytest.mark.parametrize("states", [[], [None], [a_state(Phase.STOPPED)], [a_state(Phase.NOT_READY)]])
def test_where_none_starts_there_is_no_estimate(states: list[ReplicaState | None]) -> None:
    text = f"no replica is ready yet; 0 of {len(states)} starting"
    assert look_ahead(states, 30.0) == Outlook(seconds=None, text=text)


def test_each_start_counts_once_and_only_the_latest_count() -> None:
    times = StartTimes()
    assert times.typical_seconds() is None
    times.learn(a_state(Phase.LOADING))
    assert times.typical_seconds() is None
    for number in range(20):
        for _ in range(3):
            state = a_state(Phase.READY, start_id=str(number), gauges={Gauge.LOAD_SECONDS: float(number)})
            times.learn(state)
    latest = range(20 - REMEMBERED_STARTS, 20)
    assert times.typical_seconds() == sum(latest) / len(latest)


@given(st.one_of(st.none(), st.floats(0, 1e9)))
def test_retry_after_is_bounded(estimate: float | None) -> None:
    seconds = retry_after_seconds(estimate)
    assert 1 <= seconds <= LONGEST_SECONDS
    if estimate is None:
        assert seconds == UNKNOWN_SECONDS
