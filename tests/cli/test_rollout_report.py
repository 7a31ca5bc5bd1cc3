"""`kubectl gptoss rollout` says in full where a rollout is, what serves, and what can be done."""

import pytest

from gptoss_operator.cli.rollout_report import history_lines, pause_lines, resume_lines, status_lines, watch_lines
from gptoss_operator.cli.rollout_seen import OF_HISTORY, seen_of
from gptoss_operator.cli.rollout_text import age, roughly
from tests.cli.rollouts import (
    NOW,
    PROGRESSED,
    STARTED,
    Json,
    a_condition,
    a_gate,
    a_rollout,
    an_object,
    at,
    refused,
    rolling,
)


HISTORY = [
    {
        "revision": "bbb",
        "outcome": "RolledBack",
        "at": PROGRESSED,
        "image": "server:2",
        "model": "openai/gpt-oss-20b",
        "changes": ["image", "engine.maxModelLen"],
        "message": "chat-r4: \x1b[31mwrong\nanswers",
    },
    {"revision": "aaa", "outcome": "Active", "at": "2026-11-20T10:00:00Z", "image": "server:1", "model": "hub:a/b"},
]


def status(body: Json, now: float = NOW) -> str:
    return "\n".join(status_lines(seen_of(body), now))


def test_shows_a_rollout_with_its_gates() -> None:
    gates = [
        a_gate("chat-r4", "Ready", "Passed", "its server is up"),
        a_gate("chat-r5", "Ready", "Pending", "its server is starting"),
    ]
    assert status(rolling(gates=gates, etaSeconds=360)) == (
        "chat: Progressing\n"
        "  Revision   from aaa to bbb\n"
        "  Strategy   Surge\n"
        "  Step       step 2 of 4, 1 of 4 replicas updated\n"
        "  Reason     1 of 2 replicas of revision bbb do not serve yet\n"
        "  Started    2026-11-22T12:00:00Z, 5m ago\n"
        "  Time left  about 4 min\n"
        "  Deadline   about 43 min left, nothing has got on for 2m\n"
        "\n"
        "  REPLICA  GATE   RESULT   MESSAGE\n"
        "  chat-r4  Ready  Passed   its server is up\n"
        "  chat-r5  Ready  Pending  its server is starting"
    )


@pytest.mark.parametrize(
    ("now", "eta", "deadline"),
    [
        (PROGRESSED, "about 3 min", "about 10 min left, nothing has got on for 0s"),
        ("2026-11-22T12:05:30Z", "less than a minute", "about 8 min left, nothing has got on for 2m"),
        ("2026-11-22T12:06:00Z", "overdue", "about 7 min left, nothing has got on for 3m"),
        ("2026-11-22T12:14:00Z", "overdue", "over, nothing has got on for 11m"),
    ],
)
def test_counts_the_time_left_and_the_deadline_from_when_something_last_got_on(
    now: str, eta: str, deadline: str
) -> None:
    lines = status(rolling(etaSeconds=180, spec={"rollout": {"progressDeadlineSeconds": 600}}), at(now)).splitlines()
    assert [line for line in lines if "Time left" in line] == [f"  Time left  {eta}"]
    assert [line for line in lines if "Deadline" in line] == [f"  Deadline   {deadline}"]


def test_names_no_deadline_while_a_canary_is_watched() -> None:
    shown = status(rolling(gates=[a_gate("chat-r4", "Canary", "Pending", "is watched")]))
    assert "Deadline" not in shown


def test_says_that_it_is_paused_and_no_time_that_nobody_knows() -> None:
    paused = rolling(phase="Paused", reason="spec.rollout.paused", etaSeconds=360, spec={"rollout": {"paused": True}})
    assert status(paused) == (
        "chat: Paused\n"
        "  Revision   from aaa to bbb\n"
        "  Strategy   Surge\n"
        "  Step       step 2 of 4, 1 of 4 replicas updated\n"
        "  Reason     spec.rollout.paused\n"
        "  Started    2026-11-22T12:00:00Z, 5m ago\n"
        "  Paused     by spec.rollout.paused"
    )


@pytest.mark.parametrize(
    "rollout",
    [a_rollout(phase="RollingBack"), a_rollout(phase="RollingBack", revision="aaa", **{"from": "bbb"})],
    ids=["the rollout names where it wanted to go", "the rollout names where it goes"],
)
def test_a_rollback_goes_from_the_refused_revision_to_the_one_of_before(rollout: Json) -> None:
    body = refused()
    body["status"]["rollout"] = rollout
    assert "  Revision   back from bbb to aaa\n" in status(body)


def test_shows_what_serves_when_there_is_no_rollout() -> None:
    assert status(an_object(history=HISTORY)) == (
        "chat: no rollout\n"
        "  Serving    revision aaa since 2026-11-20T10:00:00Z, 2d ago\n"
        "  Model      hub:a/b\n"
        "  Image      server:1\n"
        "  Replicas   4/4 ready"
    )


def test_shows_what_serves_without_a_history() -> None:
    assert status(an_object(spec={"rollout": {"paused": True}})) == (
        "chat: no rollout, and the next one will wait: it is paused\n"
        "  Serving    revision aaa\n"
        "  Model      openai/gpt-oss-20b\n"
        "  Image      server:1\n"
        "  Replicas   4/4 ready"
    )


REMEDY = (
    "\n"
    "It is not tried again until the spec asks for another revision. Change what is wrong in the spec, take the\n"
    "change back, or try the same once more:\n"
    "  kubectl patch gptoss chat -n demo --type=merge -p "
    '\'{"spec":{"rollout":{"trigger":"2026-11-22T12:05:00Z"}}}\''
)


def test_says_why_a_revision_is_refused_and_what_can_be_done() -> None:
    assert status(refused()) == (
        "chat: no rollout, revision bbb is refused\n"
        "  Serving    revision aaa\n"
        "  Model      openai/gpt-oss-20b\n"
        "  Image      server:1\n"
        "  Replicas   4/4 ready\n"
        "  Refused    revision bbb since 2026-11-22T12:03:00Z, 2m ago\n"
        "  Why        WrongAnswers: chat-r4: golden prompt capital: the answer lacks 'Paris'\n" + REMEDY
    )


def test_a_failed_rollout_that_cannot_go_back_says_what_can_be_done() -> None:
    shown = status(rolling(phase="Failed", reason="chat-r4 ended 3 times; spec.rollout.autoRollback is false"))
    assert shown.startswith("chat: Failed\n")
    assert shown.endswith(REMEDY)


def test_a_status_of_an_older_generation_is_told_as_such() -> None:
    assert status(an_object(generation=3)) == (
        "chat: the operator has not seen generation 3 of the spec yet, what it says is of generation 2\n"
        "  Serving    revision aaa\n"
        "  Model      openai/gpt-oss-20b\n"
        "  Image      server:1\n"
        "  Replicas   4/4 ready"
    )


def test_an_object_without_a_status_has_not_been_seen() -> None:
    body = an_object(generation=1)
    del body["status"]
    assert status(body) == "chat: the operator has not seen generation 1 of the spec yet"


def test_a_spec_that_is_not_accepted_says_why() -> None:
    conditions = [a_condition("Accepted", "False", "DoesNotFit", "70 GiB are needed, a GPU has 40 GiB")]
    assert status(an_object(revision="bbb", conditions=conditions)).startswith(
        "chat: the spec is not accepted, what runs goes on\n"
        "  Spec       DoesNotFit: 70 GiB are needed, a GPU has 40 GiB\n"
        "  Serving    revision aaa\n"
    )


def test_the_first_revision_does_not_serve_before_it_does() -> None:
    progressing = a_condition("Progressing", "True", "ReplicasStarting", "chat-r0 loads its weights")
    body = an_object(currentRevision=None, conditions=[progressing], ready="0/4", updatedReplicas=4)
    assert status(body) == (
        "chat: no rollout, revision aaa has not come to serve as a whole yet\n"
        "  Model      openai/gpt-oss-20b\n"
        "  Image      server:1\n"
        "  Replicas   0/4 ready\n"
        "  Progress   chat-r0 loads its weights"
    )


def test_a_dry_run_starts_nothing() -> None:
    shown = status(an_object(revision="bbb", spec={"mode": "DryRun"}))
    assert shown.startswith("chat: no rollout, spec.mode is DryRun: revision bbb is not started\n")


def test_shows_the_history_with_the_newest_first_and_no_control_characters() -> None:
    assert "\n".join(history_lines(seen_of(an_object(history=HISTORY), OF_HISTORY), NOW)) == (
        "REVISION  OUTCOME     AGE  SINCE                 MODEL               IMAGE     CHANGES                    "
        "MESSAGE\n"
        "bbb       RolledBack  2m   2026-11-22T12:03:00Z  openai/gpt-oss-20b  server:2  image, engine.maxModelLen  "
        "chat-r4: [31mwrong answers\n"
        "aaa       Active      2d   2026-11-20T10:00:00Z  hub:a/b             server:1  -"
    )


def test_says_that_there_is_no_history() -> None:
    assert history_lines(seen_of(an_object()), NOW) == ["chat: no revision has come to an end or to serve yet"]


def test_lines_of_a_watch_leave_out_numbers_that_change_all_the_time() -> None:
    gates = [
        a_gate("chat-r4", "GoldenPrompts", "Passed", "3 of 3"),
        a_gate("chat-r4", "Canary", "Pending", "17 of 300 s"),
    ]
    assert watch_lines(seen_of(rolling(gates=gates, etaSeconds=360))) == [
        (
            "chat: Progressing, from aaa to bbb, step 2 of 4, 1 of 4 replicas updated: "
            "1 of 2 replicas of revision bbb do not serve yet"
        ),
        "  chat-r4 GoldenPrompts Passed: 3 of 3",
        "  chat-r4 Canary Pending",
    ]


@pytest.mark.parametrize(
    ("body", "was_paused", "head"),
    [
        (an_object(), False, "chat is paused. No rollout is under way: the next one will wait."),
        (rolling(), False, "chat is paused: no further replica is replaced (step 2 of 4, 1 of 4 replicas updated)."),
        (
            rolling(phase="RollingBack"),
            False,
            "chat is paused. The rollback goes on all the same; the next rollout will wait.",
        ),
        (rolling(phase="Paused"), True, "chat is paused already."),
    ],
)
def test_says_what_follows_from_a_pause(body: Json, was_paused: bool, head: str) -> None:  # noqa: FBT001 - a parameter of the test
    assert pause_lines(seen_of(body), was_paused=was_paused) == [
        head,
        "Scaling, repair and a rollback go on.",
        "To go on: kubectl gptoss rollout resume chat -n demo",
    ]


def test_says_what_follows_from_the_end_of_a_pause() -> None:
    assert resume_lines(seen_of(rolling(phase="Paused")), was_paused=True) == [
        "chat goes on (step 2 of 4, 1 of 4 replicas updated).",
        "To follow it: kubectl gptoss rollout status --watch chat -n demo",
    ]
    assert resume_lines(seen_of(an_object()), was_paused=True) == [
        "chat is not paused any more. No rollout is under way."
    ]
    assert resume_lines(seen_of(an_object()), was_paused=False) == ["chat is not paused."]


def test_times_are_as_exact_as_they_are_known() -> None:
    assert [roughly(s) for s in (20, 250, 3 * 3600, 60 * 3600)] == [
        "less than a minute",
        "about 4 min",
        "about 3 h",
        "about 2 days",
    ]
    assert [age(s) for s in (-5, 119, 120, 7200, 200000)] == ["0s", "119s", "2m", "2h", "2d"]
    assert at(STARTED) < NOW
