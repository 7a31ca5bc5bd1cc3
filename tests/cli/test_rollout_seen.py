"""What is read of an object of another version, and when a rollout counts as ended."""

import pytest

from gptoss_operator.cli.kubectl import decoded
from gptoss_operator.cli.rollout_end import End, end_of
from gptoss_operator.cli.rollout_seen import OF_HISTORY, StatusUnreadable, seen_of
from tests.cli.rollouts import Json, a_condition, a_rollout, an_object, complete, refused, rolling


def test_fields_of_a_newer_operator_are_left_out() -> None:
    gates = [{"replica": "chat-r4", "gate": "Novel", "result": "Passed", "score": 3}]
    body = an_object(revision="bbb", rollout=a_rollout(gates=gates, novel={"a": 1}), novel=[1])
    known = an_object(
        revision="bbb", rollout=a_rollout(gates=[{"replica": "chat-r4", "gate": "Novel", "result": "Passed"}])
    )
    assert seen_of(body) == seen_of(known)


def test_a_condition_that_cannot_be_read_hides_no_other() -> None:
    novel, known = a_condition("Novel", "True", "A", "b"), a_condition("Accepted", "False", "DoesNotFit", "too large")
    end = end_of(seen_of(an_object(conditions=[novel, novel, known], cost={"hourly": 3})))
    assert end == End(
        is_complete=False, message="chat: the spec is not accepted, what runs goes on: DoesNotFit: too large"
    )


def test_a_rollout_that_cannot_be_read_is_not_taken_for_none() -> None:
    with pytest.raises(StatusUnreadable, match=r"^status\.rollout\.phase cannot be understood: .*; use the plug-in"):
        seen_of(rolling(phase="Novel"))


def test_a_history_that_cannot_be_read_does_not_hide_the_rollout() -> None:
    body = rolling()
    body["status"]["history"] = [{"revision": "aaa", "outcome": "Novel", "at": "2026-11-20T10:00:00Z"}]
    assert seen_of(body) == seen_of(rolling())
    with pytest.raises(StatusUnreadable, match=r"^status\.history\.0\.outcome"):
        seen_of(body, OF_HISTORY)


SETTLED = [a_condition("Progressing", "False", "Settled", "settled")]


@pytest.mark.parametrize(
    "body",
    [
        rolling(),
        rolling(phase="Paused"),
        rolling(phase="Waiting"),
        rolling(phase="RollingBack"),
        an_object(revision="bbb"),
        an_object(generation=3),
        an_object(generation=3, revision="bbb", rollout=a_rollout(phase="Failed")),
        an_object(currentRevision=None, conditions=[a_condition("Progressing", "True", "ReplicasStarting", "")]),
        an_object(currentRevision=None, updatedReplicas=3, conditions=SETTLED),
    ],
    ids=[
        "progressing",
        "paused",
        "waiting for a window",
        "a rollback is not over",
        "the rollout is about to begin",
        "the status is of an older spec",
        "a failure of an older spec",
        "the first revision starts",
        "an older operator replaces replicas",
    ],
)
def test_has_not_ended(body: Json) -> None:
    assert end_of(seen_of(body)) is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (complete(), "revision bbb serves"),
        (an_object(currentRevision=None, conditions=SETTLED), "revision aaa serves"),
        (an_object(revision="bbb", desiredReplicas=0), "no replica is wanted, the next one starts with revision bbb"),
    ],
    ids=["it serves", "an older operator", "without replicas"],
)
def test_has_come_to_serve(body: Json, message: str) -> None:
    assert end_of(seen_of(body)) == End(is_complete=True, message=f"chat: complete: {message}")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            refused(),
            "rolled back: revision bbb: WrongAnswers: chat-r4: golden prompt capital: the answer lacks 'Paris'",
        ),
        (rolling(phase="Failed", reason="no record to go back to"), "failed: revision bbb: no record to go back to"),
        (an_object(revision="bbb", spec={"mode": "DryRun"}), "spec.mode is DryRun: nothing is replaced"),
    ],
)
def test_has_failed(body: Json, message: str) -> None:
    assert end_of(seen_of(body)) == End(is_complete=False, message=f"chat: {message}")


def test_reads_events_on_one_line_and_over_many_and_leaves_out_one_that_is_broken_off() -> None:
    lines = ['{"a": {"b": "}"}}\n', "{\n", '    "a": {\n', '        "b": 1\n', "    }\n", "}\n", '{"a":\n']
    assert list(decoded(lines)) == [{"a": {"b": "}"}}, {"a": {"b": 1}}]
