"""What users are told of what replicas say: in conditions, events and the status."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_operator.api.status import Condition, ConditionType, InterruptionNotice, Reason
from gptoss_operator.core.actions import Plan
from gptoss_operator.core.notices import SHOWN_AT_MOST, shown, words_of
from gptoss_runtime.contract import Check, CheckResult, Notice, NoticeKind, Phase, ReplicaState
from tests.core.builders import a_body, a_state
from tests.core.cluster import Cluster


TAKEN = Notice(kind=NoticeKind.TERMINATION, source="AWS spot/instance-action")
WRONG: dict[str, CheckResult] = {
    Check.PARAMETERS_ACCESSIBLE: CheckResult(ok=False, detail="the probe's answer has changed")
}


def a_fleet(replicas: int = 2) -> Cluster:
    """Return a cluster that is settled, with so many replicas."""
    cluster = Cluster(a_body(replicas=replicas))
    cluster.run()
    return cluster


def condition(cluster: Cluster, wanted: ConditionType) -> Condition:
    conditions = (Condition.model_validate(c) for c in cluster.body["status"]["conditions"])
    return next(c for c in conditions if c.type is wanted)


def is_quiet(plan: Plan) -> bool:
    return not (plan.applies or plan.deletes or plan.annotates or plan.status or plan.notes)


def said(plan: Plan) -> list[tuple[str, Reason, str]]:
    return [(note.type, note.reason, note.message) for note in plan.notes]


def test_replicas_that_are_well_change_nothing() -> None:
    cluster = a_fleet()
    cluster.states = {0: a_state(), 1: a_state()}
    assert is_quiet(cluster.pass_once())


def test_a_failed_check_degrades_and_is_told_once_until_it_passes() -> None:
    cluster = a_fleet()
    cluster.states = {1: a_state(checks=WRONG)}
    words = "chat-r1: parameters_accessible: the probe's answer has changed"

    assert said(cluster.pass_once()) == [("Warning", Reason.UNHEALTHY_REPLICA, words)]
    degraded = condition(cluster, ConditionType.DEGRADED)
    assert (degraded.status, degraded.reason, degraded.message) == ("True", Reason.UNHEALTHY_REPLICA, words)
    assert condition(cluster, ConditionType.AVAILABLE).status == "True"
    assert cluster.body["status"]["ready"] == "2/2", "it answers, so it counts"

    cluster.states = {1: a_state(checks=WRONG, sequence=2)}
    assert is_quiet(cluster.pass_once()), "numbers alone change nothing"

    cluster.states = {}
    cluster.run()
    assert condition(cluster, ConditionType.DEGRADED).status == "False"


def test_a_notice_replaces_the_replica_in_the_same_pass() -> None:
    cluster = a_fleet()
    cluster.states = {0: a_state(notice=TAKEN)}
    words = "its machine will be taken away (AWS spot/instance-action): it finishes its requests"

    plan = cluster.pass_once()
    assert [apply.key.name for apply in plan.applies] == ["chat-r2"]
    assert [delete.key.name for delete in plan.deletes] == ["chat-r0"]
    assert said(plan) == [
        ("Normal", Reason.REPLACED_EARLY, f"Remove chat-r0: {words}"),
        ("Normal", Reason.REPLICA_CREATED, "Create chat-r2: 2 replicas are asked for"),
        ("Warning", Reason.INTERRUPTION_NOTICE, f"chat-r0: {words}"),
    ]
    assert cluster.body["status"]["notices"] == [
        {"replica": "chat-r0", "kind": "Termination", "source": "AWS spot/instance-action"}
    ]
    assert condition(cluster, ConditionType.DEGRADED).status == "False", "clouds do that"

    cluster.run()
    assert sorted(cluster.pods) == [1, 2]
    assert "notices" not in cluster.body["status"]
    assert cluster.body["status"]["ready"] == "2/2"


def test_a_replica_that_may_go_is_told_of_once_and_stays() -> None:
    cluster = a_fleet()
    cluster.states = {0: a_state(notice=replace(TAKEN, kind=NoticeKind.REBALANCE))}
    plan = cluster.pass_once()
    assert (plan.applies, plan.deletes, plan.annotates) == ((), (), ())
    assert [(note.type, note.reason) for note in plan.notes] == [("Normal", Reason.INTERRUPTION_NOTICE)]
    assert is_quiet(cluster.pass_once())


def test_replicas_that_hear_the_same_share_an_event() -> None:
    cluster = a_fleet(3)
    gossip = Notice(kind=NoticeKind.REBALANCE, source="AWS events/recommendations/rebalance")
    cluster.states = {0: a_state(notice=TAKEN), 1: a_state(notice=gossip), 2: a_state(notice=TAKEN)}
    assert [told for told in said(cluster.pass_once()) if told[1] is Reason.INTERRUPTION_NOTICE] == [
        (
            "Warning",
            Reason.INTERRUPTION_NOTICE,
            "chat-r0, chat-r2: its machine will be taken away (AWS spot/instance-action): it finishes its requests",
        ),
        (
            "Normal",
            Reason.INTERRUPTION_NOTICE,
            "chat-r1: its machine may be taken away soon (AWS events/recommendations/rebalance): its requests go on",
        ),
    ]


def test_a_notice_says_when_it_happens() -> None:
    cluster = a_fleet(1)
    cluster.states = {0: a_state(notice=replace(TAKEN, deadline=1800000000.0))}
    (told,) = (m for _, reason, m in said(cluster.pass_once()) if reason is Reason.INTERRUPTION_NOTICE)
    assert told.startswith("chat-r0: its machine will be taken away at 2027-01-15T08:00:00Z (")


def test_an_engine_that_hangs_is_explained() -> None:
    cluster = a_fleet(1)
    cluster.unready = {0}
    del cluster.pods[0]
    cluster.run()
    cluster.states = {0: a_state(Phase.NOT_READY, reason="its engine makes no progress")}

    assert said(cluster.pass_once()) == [("Warning", Reason.UNHEALTHY_REPLICA, "chat-r0: its engine makes no progress")]
    available = condition(cluster, ConditionType.AVAILABLE)
    assert (available.status, available.reason) == ("False", Reason.UNHEALTHY_REPLICA)
    cluster.run()


@pytest.mark.parametrize("deadline", [float("inf"), -1e300, 1e18, float("nan")])
def test_a_deadline_that_is_no_date_is_left_out(deadline: float) -> None:
    (notice,) = shown([("chat-r0", replace(TAKEN, deadline=deadline))])
    assert notice.deadline is None


def test_the_status_stays_small() -> None:
    notices = shown((f"chat-r{slot}", replace(TAKEN, source="x \n" * 1000)) for slot in range(5000))
    assert len(notices) == SHOWN_AT_MOST
    assert all(len(words_of(notice)) < 300 for notice in notices)


ENDS = (NoticeKind.TERMINATION, NoticeKind.MAINTENANCE)
STATES = st.builds(
    a_state,
    st.sampled_from(Phase),
    reason=st.text(max_size=600),
    checks=st.dictionaries(st.text(max_size=9), st.builds(CheckResult, ok=st.none() | st.booleans(), detail=st.text())),
    notice=st.none()
    | st.builds(Notice, kind=st.sampled_from(NoticeKind), source=st.text(), deadline=st.none() | st.floats()),
)


@given(states=st.dictionaries(st.integers(0, 2), STATES), unready=st.sets(st.integers(0, 2)))
def test_whatever_replicas_say_only_those_that_lose_their_machine_go_and_the_status_settles(
    states: dict[int, ReplicaState], unready: set[int]
) -> None:
    cluster = Cluster(a_body(replicas=3))
    cluster.unready = unready
    cluster.run()
    cluster.states = states
    first = cluster.pass_once()
    doomed = {f"chat-r{slot}" for slot, state in states.items() if state.notice and state.notice.kind in ENDS}
    assert {delete.key.name for delete in first.deletes} == doomed
    assert len(first.applies) == len(doomed)
    assert first.annotates == ()
    cluster.run()
    assert len(cluster.pods) == 3


def test_maintenance_is_told_as_such() -> None:
    notice = InterruptionNotice(replica="chat-r0", kind=NoticeKind.MAINTENANCE, source="GCP maintenance-event")
    assert words_of(notice) == (
        "its machine will be stopped for maintenance (GCP maintenance-event): it finishes its requests"
    )
