from typing import Any

import pytest

from gptoss_operator.api import names
from gptoss_operator.api.status import Reason
from gptoss_operator.core.actions import Annotate, Apply, Plan, digest_of
from gptoss_operator.core.observation import ChildKey
from gptoss_operator.errors import Conflict, KubernetesError, NotFound, Refused, Unavailable
from gptoss_operator.shell.carry_out import Outcome
from gptoss_operator.shell.store import Key
from tests.shell.builders import OWNER, a_body, a_child, an_object
from tests.shell.recorder import A_NOTE, CHAT, STATUS, Recorder, a_delete, an_apply, do, hands_of


def test_everything_is_done_in_order_and_the_status_last() -> None:
    recorder = Recorder()

    outcome = do(
        Plan(
            applies=(an_apply("a"), an_apply("b")),
            deletes=(a_delete("chat-r1"),),
            notes=(A_NOTE,),
            status=STATUS,
            reason="x",
        ),
        hands_of(recorder),
    )

    assert recorder.calls == ["apply a", "apply b", "delete chat-r1 u 3", "event ReplicaCreated", "status"]
    assert outcome == Outcome(problems_changed=False, conflicts=0)


def test_what_was_written_is_seen_by_the_next_pass() -> None:
    recorder = Recorder()
    hands = hands_of(recorder)
    hands.bodies.deliver(a_body(version=1))
    hands.cluster.children["StatefulSet"].seen(None, a_child("chat-r1", version=3, uid="u"))
    apply = an_apply("a")

    do(Plan(applies=(apply,), deletes=(a_delete("chat-r1"),), status=STATUS, reason="x"), hands)

    child = hands.cluster.children["Service"].get(Key("demo", "a"))
    assert child is not None
    assert hands.ledger.applied_digest(CHAT, apply.key, child) == apply.digest
    assert hands.cluster.children["StatefulSet"].part_of(CHAT) == []
    body = hands.bodies.get(CHAT)
    assert body is not None
    assert body["status"] == {"conditions": [], "replicas": 1, "ready": "0/1"}


def test_a_terminating_object_is_remembered_as_such() -> None:
    recorder = Recorder()
    terminating = an_object("StatefulSet", "chat-r1", version=8, uid="u")
    terminating["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    recorder.answers["delete chat-r1 u 3"] = terminating
    hands = hands_of(recorder)
    hands.cluster.children["StatefulSet"].seen(None, a_child("chat-r1", version=3, uid="u"))

    do(Plan(deletes=(a_delete("chat-r1"),), status=None, reason="x"), hands)

    [left] = hands.cluster.children["StatefulSet"].part_of(CHAT)
    assert left.metadata.deletion_timestamp is not None


def test_the_status_is_only_for_the_very_object() -> None:
    recorder = Recorder()

    do(Plan(status=STATUS, reason="x"), hands_of(recorder))

    assert recorder.sent == [
        {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": "chat", "namespace": "demo", "uid": OWNER.uid},
            "status": {"conditions": [], "replicas": 1, "ready": "0/1"},
        }
    ]


def test_an_object_that_was_not_seen_is_looked_up_before_it_is_created() -> None:
    recorder = Recorder()

    do(Plan(applies=(an_apply("a", exists=False),), status=None, reason="x"), hands_of(recorder))

    assert recorder.calls == ["get a", "apply a"]


@pytest.mark.parametrize(
    ("existing", "reason", "message"),
    [
        (
            {"owner_uid": "another", "deployment": "other"},
            Reason.NAME_TAKEN,
            "Service a exists and belongs to somebody else: rename the GptOssDeployment, or delete the Service",
        ),
        (
            {"owner_uid": None, "deployment": "other"},
            Reason.NAME_TAKEN,
            "Service a exists and belongs to somebody else: rename the GptOssDeployment, or delete the Service",
        ),
        (
            {"owner_uid": "an-earlier-uid"},
            Reason.EARLIER_BEING_REMOVED,
            "Service a is still there from an earlier GptOssDeployment chat: it is being removed",
        ),
    ],
)
def test_somebody_elses_object_is_left_alone_and_the_rest_goes_on(
    existing: dict[str, Any], reason: Reason, message: str
) -> None:
    recorder = Recorder({ChildKey("Service", "a"): an_object("Service", "a", **existing)})
    hands = hands_of(recorder)

    outcome = do(Plan(applies=(an_apply("a", exists=False), an_apply("b")), status=STATUS, reason="x"), hands)

    assert recorder.calls == ["get a", "apply b", "status"]
    assert outcome.problems_changed
    problem = hands.ledger.problems(CHAT)[ChildKey("Service", "a")]
    assert (problem.reason, problem.message) == (reason, message)


@pytest.mark.parametrize("owner_uid", [OWNER.uid, None], ids=["ours", "left behind without an owner"])
def test_our_own_object_is_taken_up_again(owner_uid: str | None) -> None:
    recorder = Recorder({ChildKey("Service", "a"): an_object("Service", "a", owner_uid=owner_uid)})

    do(Plan(applies=(an_apply("a", exists=False),), status=None, reason="x"), hands_of(recorder))

    assert recorder.calls == ["get a", "apply a"]


def test_a_refusal_is_remembered_until_it_passes_and_stops_nothing() -> None:
    recorder = Recorder()
    recorder.answers["apply a"] = Refused("exceeded quota")
    hands = hands_of(recorder)
    plan = Plan(applies=(an_apply("a", exists=False), an_apply("b")), status=STATUS, reason="x")

    assert do(plan, hands).problems_changed
    assert recorder.calls == ["get a", "apply a", "apply b", "status"]
    assert not do(plan, hands).problems_changed, "the same refusal is no news"
    del recorder.answers["apply a"]
    assert do(plan, hands).problems_changed
    assert hands.ledger.problems(CHAT) == {}


def test_lists_that_cannot_be_merged_with_somebody_elses_are_replaced() -> None:
    recorder = Recorder()
    recorder.answers["apply a"] = Refused("two ports of one name")
    recorder.passing.add("apply a")

    do(Plan(applies=(an_apply("a"),), status=None, reason="x"), hands_of(recorder))

    assert recorder.calls == ["apply a", "overwrite a", "apply a"]


def test_an_api_server_that_is_away_ends_the_pass() -> None:
    recorder = Recorder()
    recorder.answers["apply a"] = Unavailable("no answer")
    hands = hands_of(recorder)

    with pytest.raises(Unavailable):
        do(Plan(applies=(an_apply("a"), an_apply("b")), status=STATUS, reason="x"), hands)
    assert recorder.calls == ["apply a"]
    assert hands.ledger.problems(CHAT) == {}


@pytest.mark.parametrize(("answer", "conflicts"), [(NotFound("gone"), 0), (Conflict("changed"), 1), (Refused("no"), 1)])
def test_a_delete_that_fails_stops_nothing(answer: KubernetesError, conflicts: int) -> None:
    recorder = Recorder()
    recorder.answers["delete chat-r1 u 3"] = answer

    outcome = do(Plan(deletes=(a_delete("chat-r1"),), status=STATUS, reason="x"), hands_of(recorder))

    assert recorder.calls == ["delete chat-r1 u 3", "status"]
    assert outcome.conflicts == conflicts


AN_ANNOTATION = Annotate(pod="chat-gateway-x", uid="u", annotation=names.ANNOTATION_KEYS, value="7", reason="new keys")
ANNOTATE = "annotate chat-gateway-x u {'gptoss.dev/keys': '7'}"


def test_a_pod_that_was_annotated_is_seen_so_by_the_next_pass() -> None:
    recorder = Recorder()
    hands = hands_of(recorder)

    do(Plan(annotates=(AN_ANNOTATION,), status=STATUS, reason="x"), hands)

    assert recorder.calls == [ANNOTATE, "status"]
    pod = hands.cluster.pods.get(Key("demo", "chat-gateway-x"))
    assert pod is not None
    assert pod.metadata.annotations.keys_version == "7"


@pytest.mark.parametrize("answer", [NotFound("gone"), Conflict("another"), Refused("may not")])
def test_a_pod_that_cannot_be_annotated_stops_nothing(answer: KubernetesError) -> None:
    recorder = Recorder()
    recorder.answers[ANNOTATE] = answer

    outcome = do(Plan(annotates=(AN_ANNOTATION,), status=STATUS, reason="x"), hands_of(recorder))

    assert recorder.calls == [ANNOTATE, "status"]
    assert outcome == Outcome(problems_changed=False, conflicts=0)


def test_a_kind_that_the_cluster_does_not_have_is_named_with_the_remedy() -> None:
    recorder = Recorder()
    recorder.answers["apply a"] = NotFound("the server could not find the requested resource")
    hands = hands_of(recorder)
    manifest = an_object("InferencePool", "a")
    apply = Apply(manifest=manifest, digest=digest_of(manifest), exists=False, reason="it is missing")

    assert do(Plan(applies=(apply, an_apply("b")), status=STATUS, reason="x"), hands).problems_changed

    assert recorder.calls == ["get a", "apply a", "apply b", "status"]
    (problem,) = hands.ledger.problems(CHAT).values()
    assert problem.reason is Reason.KIND_NOT_INSTALLED
    assert problem.message == (
        "the cluster has no InferencePool (inference.networking.k8s.io): "
        "install its CustomResourceDefinition, or take it out of spec"
    )


def test_a_status_of_an_object_that_is_gone_is_dropped() -> None:
    recorder = Recorder()
    recorder.answers["status"] = NotFound("gone")

    assert do(Plan(status=STATUS, reason="x"), hands_of(recorder)).conflicts == 1


def test_an_event_is_not_repeated_and_its_failure_does_not_matter() -> None:
    recorder = Recorder()
    recorder.answers["event ReplicaCreated"] = Unavailable("busy")
    hands = hands_of(recorder)
    plan = Plan(notes=(A_NOTE,), status=STATUS, reason="x")

    do(plan, hands)
    do(plan, hands)

    assert recorder.calls == ["event ReplicaCreated", "status", "status"]


def test_nothing_is_written_by_a_process_that_is_not_in_charge() -> None:
    recorder = Recorder()

    with pytest.raises(Unavailable, match="another process"):
        do(Plan(applies=(an_apply("a"),), status=STATUS, reason="x"), hands_of(recorder, may_write=lambda: False))
    assert recorder.calls == []
