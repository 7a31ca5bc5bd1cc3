"""Whether the first replica of a revision does worse than the others."""

from collections.abc import Mapping

from gptoss_operator.api.rollout import CanarySpec
from gptoss_operator.api.status import Reason
from gptoss_operator.api.status_rollout import GateResult
from gptoss_operator.core.rollout.canary import CanaryMemory, canary_gate, sums_of, watch_canary
from gptoss_operator.core.rollout.gates import Gate
from gptoss_runtime.contract import Counter, Phase, ReplicaState, Verdict


SPEC = CanarySpec(hold_seconds=100, min_requests=20)
OTHERS = frozenset({"o1", "o2"})


def a_state(
    answers: float = 0.0, *, failed: float = 0.0, ttft: float = 0.1, itl: float = 0.01, start: str = "a"
) -> ReplicaState:
    return ReplicaState(
        start_id=start,
        sequence=1,
        phase=Phase.READY,
        verdict=Verdict(ready=True, live=True, reason="up"),
        uptime_seconds=1.0,
        counters={
            Counter.ANSWERS: answers,
            Counter.ANSWERS_FAILED: failed,
            Counter.FIRST_TOKENS: answers,
            Counter.FIRST_TOKEN_SECONDS: answers * ttft,
            Counter.FURTHER_TOKENS: answers * 10,
            Counter.FURTHER_TOKEN_SECONDS: answers * 10 * itl,
        },
    )


def watched(*looks: Mapping[str, ReplicaState]) -> CanaryMemory:
    memory = CanaryMemory()
    for number, states in enumerate(looks):
        memory = watch_canary(memory, "c", states, OTHERS, 1000.0 + 5 * number)
    return memory


def gate_of(canary: ReplicaState, other: ReplicaState, *, now: float = 1050.0) -> Gate:
    memory = watched({"c": a_state(), "o1": a_state()}, {"c": canary, "o1": other})
    return canary_gate(SPEC, memory, 1000.0, now)


def test_what_was_counted_before_it_began_does_not_count() -> None:
    memory = watched(
        {"c": a_state(5), "o1": a_state(1000, failed=500)}, {"c": a_state(15), "o1": a_state(1100, failed=500)}
    )
    own, others = sums_of(memory)
    assert (own.answers, others.answers, others.failed) == (10, 100, 0)


def test_a_server_that_starts_again_loses_nothing_that_was_seen() -> None:
    memory = watched(
        {"c": a_state(0)},
        {"c": a_state(10)},
        {"c": a_state(3, failed=1, start="b")},
        {"c": a_state(5, failed=1, start="b")},
    )
    own, _ = sums_of(memory)
    assert (own.answers, own.failed) == (15, 1)


def test_one_that_is_not_heard_for_a_while_is_taken_up_again() -> None:
    memory = watched({"c": a_state(0), "o1": a_state(0)}, {"c": a_state(5)}, {"c": a_state(9), "o1": a_state(40)})
    own, others = sums_of(memory)
    assert (own.answers, others.answers) == (9, 40)


def test_another_canary_is_compared_anew() -> None:
    memory = watched({"c": a_state(0)}, {"c": a_state(10)})
    again = watch_canary(memory, "d", {"d": a_state(7)}, OTHERS, 2000.0)
    assert (again.uid, again.since, again.gained) == ("d", 2000.0, {})


def test_it_is_watched_until_its_time_is_over() -> None:
    pending = gate_of(a_state(50), a_state(50))
    assert not pending.passed
    assert not pending.failed
    assert "watched until" in pending.message
    passed = gate_of(a_state(50), a_state(50), now=1100.0)
    assert passed.passed
    assert passed.message.startswith("no worse than the others (50 requests, 0.0 % failed")


def test_a_process_that_begins_anew_again_and_again_has_it_wait_no_longer_than_twice_its_time() -> None:
    memory = CanaryMemory(uid="c", since=1190.0)
    assert not canary_gate(SPEC, memory, 1000.0, 1199.0).passed
    assert canary_gate(SPEC, memory, 1000.0, 1200.0).passed


def test_only_the_time_that_it_serves_without_a_break_counts() -> None:
    memory = CanaryMemory(uid="c", since=1000.0)
    down = canary_gate(SPEC, memory, None, 5000.0)
    assert (down.result, down.message) == (GateResult.PENDING, "was let in, and does not serve")
    assert not canary_gate(SPEC, memory, 4950.0, 5000.0).passed, "it serves again since then"
    assert canary_gate(SPEC, memory, 4900.0, 5000.0).passed


def test_requests_that_fail_are_told_at_once() -> None:
    failed = gate_of(a_state(50, failed=5), a_state(50))
    assert (failed.failed, failed.reason) == (True, Reason.CANARY_WORSE)
    assert failed.message.startswith("10.0 % of its requests failed, 0.0 % of the others'")
    assert not gate_of(a_state(50, failed=5), a_state(50, failed=5)).failed, "the others are no better"
    assert not gate_of(a_state(50, failed=2), a_state(50)).failed, "two may be luck"


def test_one_that_answers_nothing_well_needs_few_requests_to_show_it() -> None:
    assert gate_of(a_state(3, failed=3), a_state(50)).failed
    assert not gate_of(a_state(2, failed=2), a_state(50)).failed


def test_times_are_compared_with_the_others_of_the_same_while() -> None:
    assert gate_of(a_state(50, ttft=0.2), a_state(50)).message.startswith("its first tokens come later")
    assert gate_of(a_state(50, itl=0.05), a_state(50)).message.startswith("its further tokens come slower")
    assert not gate_of(a_state(50, ttft=0.14, itl=0.012), a_state(50)).failed
    assert not gate_of(a_state(50, ttft=0.004), a_state(50, ttft=0.001)).failed, "milliseconds are the machine's"


def test_with_few_requests_it_passes_and_says_so() -> None:
    few = gate_of(a_state(3, ttft=9.0), a_state(50), now=1100.0)
    assert few.passed
    assert few.message.startswith("too few requests to compare all (3 requests")
    assert not gate_of(a_state(50, ttft=9.0), a_state(3)).failed, "there is nothing to compare with"
