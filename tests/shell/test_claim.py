from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_operator.shell.claim import (
    DURATION_SECONDS,
    Record,
    Sight,
    Step,
    claimed,
    look,
    next_claim,
    record_of,
    released,
)


NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def a_record(holder: str, renewal: object = 0, version: str | None = "1") -> Record:
    return Record(holder=holder, duration_seconds=DURATION_SECONDS, renewal=str(renewal), version=version)


@pytest.mark.parametrize(
    ("sight", "step", "reason"),
    [
        (None, Step.CREATE, "nobody has had it yet"),
        (Sight(record=a_record(""), since=100), Step.UPDATE, "it was released"),
        (Sight(record=a_record("a"), since=100), Step.UPDATE, "it is ours"),
        (Sight(record=a_record("a", version=None), since=100), Step.CREATE, "it is ours"),
        (Sight(record=a_record("b"), since=100 - 14.9), Step.WAIT, "b holds it"),
        (Sight(record=a_record("b", version=None), since=100 - 14.9), Step.WAIT, "b holds it"),
        (Sight(record=a_record("b"), since=100 - 15), Step.UPDATE, "b has not renewed it for 15 s"),
        (Sight(record=a_record("b", version=None), since=100 - 15), Step.CREATE, "b has not renewed it for 15 s"),
    ],
)
def test_a_lease_is_claimed_when_it_is_free_or_has_been_still_for_its_duration(
    sight: Sight | None, step: Step, reason: str
) -> None:
    claim = next_claim(sight, "a", 100)

    assert (claim.step, claim.reason) == (step, reason)


def test_the_duration_is_the_holders_own() -> None:
    record = Record(holder="b", duration_seconds=60, renewal="", version="1")

    assert next_claim(Sight(record=record, since=0), "a", 59).step is Step.WAIT
    assert next_claim(Sight(record=record, since=0), "a", 60).step is Step.UPDATE


def test_the_time_runs_from_the_first_sight_of_a_renewal_and_labels_do_not_count() -> None:
    first = look(None, a_record("b", renewal=1, version="1"), 10)
    again = look(first, a_record("b", renewal=1, version="2"), 20)
    renewed = look(again, a_record("b", renewal=2, version="3"), 30)

    assert first is not None
    assert again == Sight(record=a_record("b", renewal=1, version="2"), since=10)
    assert renewed == Sight(record=a_record("b", renewal=2, version="3"), since=30)


def test_a_time_in_the_lease_that_is_long_past_or_to_come_means_nothing() -> None:
    for years in (-10, 10):
        lease = claimed(None, "ns", "name", "b", NOON + timedelta(days=365 * years))
        lease["metadata"]["resourceVersion"] = "1"
        sight = look(None, record_of(lease), 0)
        assert next_claim(sight, "a", DURATION_SECONDS - 0.1).step is Step.WAIT
        assert next_claim(sight, "a", DURATION_SECONDS).step is Step.UPDATE


def test_a_lease_that_is_gone_binds_for_its_duration_from_when_that_was_seen() -> None:
    held = look(None, a_record("b", version="1"), 0)
    gone = look(held, None, 14)

    assert look(None, None, 14) is None
    assert gone == look(gone, None, 20) == Sight(record=a_record("b", version=None), since=14)


@given(
    st.lists(st.tuples(st.floats(0, 20), st.sampled_from(["renew", "read", "delete"]), st.floats(0, 3)), max_size=40),
    st.floats(-1e6, 1e6),
)
def test_no_other_claims_a_lease_within_its_duration_wherever_their_clocks_stand(
    events: list[tuple[float, str, float]], offset: float
) -> None:
    now = renewed_at = 0.0
    renewal = 0
    there = True
    sight = look(None, a_record("b", renewal), now + offset)
    for pause, event, answer_seconds in events:
        now += pause
        if event == "renew" and there:
            renewal, renewed_at = renewal + 1, now
        elif event == "delete":
            there = False
        else:
            sight = look(sight, a_record("b", renewal) if there else None, now + answer_seconds + offset)
            if next_claim(sight, "a", now + answer_seconds + offset).step is not Step.WAIT:
                assert now + answer_seconds - renewed_at >= DURATION_SECONDS - 1e-6


def test_a_claim_keeps_what_others_wrote_and_counts_the_holders() -> None:
    theirs = {
        "metadata": {"name": "name", "resourceVersion": "7", "labels": {"a": "b"}},
        "spec": {"holderIdentity": "b", "acquireTime": "2026-01-01T00:00:00.000000Z", "leaseTransitions": 4},
    }
    taken = claimed(theirs, "ns", "name", "a", NOON)
    renewed = claimed(taken, "ns", "name", "a", NOON + timedelta(seconds=5))

    assert taken["metadata"] == theirs["metadata"]
    assert taken["spec"] == {
        "holderIdentity": "a",
        "acquireTime": "2026-05-01T12:00:00.000000Z",
        "renewTime": "2026-05-01T12:00:00.000000Z",
        "leaseTransitions": 5,
        "leaseDurationSeconds": 15,
    }
    assert renewed["spec"] == taken["spec"] | {"renewTime": "2026-05-01T12:00:05.000000Z"}
    assert released(renewed)["spec"] == renewed["spec"] | {"holderIdentity": ""}


def test_a_lease_that_a_person_made_without_a_spec_is_free() -> None:
    bare = {"metadata": {"resourceVersion": "1"}}

    assert record_of(bare).holder == ""
    assert record_of(claimed({**bare, "spec": None}, "ns", "name", "a", NOON)).holder == "a"
