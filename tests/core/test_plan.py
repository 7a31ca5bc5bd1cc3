"""The whole plan: what it holds, that it settles, and that it may be interrupted anywhere."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_operator.api.status import ConditionType, Reason
from gptoss_operator.core.observation import ChildKey, Observation, Problem
from gptoss_operator.core.plan import make_plan
from tests.core.builders import NOW, OPTIONS, OWNER, a_body, seen
from tests.core.cluster import Cluster


def conditions(body: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in body["status"]["conditions"]}


def test_first_pass_creates_everything_in_an_order_that_serves_soonest() -> None:
    plan = make_plan(a_body(replicas=2), seen(), OPTIONS, NOW)
    assert [tuple(apply.key) for apply in plan.applies] == [
        ("Service", "chat-replicas"),
        ("Service", "chat-gateways"),
        ("Service", "chat"),
        ("ConfigMap", "chat-gateway"),
        ("Deployment", "chat-gateway"),
        ("PodDisruptionBudget", "chat-replicas"),
        ("PodDisruptionBudget", "chat-gateway"),
        ("ControllerRevision", f"chat-{plan.status.revision if plan.status else ''}"),
        ("StatefulSet", "chat-r0"),
        ("StatefulSet", "chat-r1"),
    ]
    assert plan.deletes == ()
    assert all(apply.manifest["metadata"]["ownerReferences"][0]["uid"] == OWNER.uid for apply in plan.applies)


def test_a_settled_cluster_yields_no_calls_and_no_status_write() -> None:
    cluster = Cluster(a_body(replicas=3))
    quiet = cluster.run()
    assert (quiet.applies, quiet.deletes, quiet.status, quiet.notes) == ((), (), None, ())
    assert quiet.reason == "settled: everything is as the spec asks"
    assert conditions(cluster.body) == {
        "Accepted": ("True", "Valid"),
        "Available": ("True", "ReplicasReady"),
        "Progressing": ("False", "Settled"),
        "Degraded": ("False", "AsExpected"),
    }
    assert cluster.body["status"]["ready"] == "3/3"


def test_status_says_where_clients_go_and_what_was_chosen() -> None:
    status = make_plan(a_body(), seen(), OPTIONS, NOW).status
    assert status is not None
    assert status.url == "http://chat.demo.svc.cluster.local:8000/v1"
    assert status.served_model == "openai/gpt-oss-20b"
    assert status.selector == "gptoss.dev/deployment=chat,app.kubernetes.io/component=replica"
    assert status.resolved is not None
    assert status.resolved.image == "server:1"


def test_an_upgrade_of_the_operator_keeps_the_images_that_were_chosen() -> None:
    cluster = Cluster(a_body(replicas=1))
    cluster.run()
    newer = OPTIONS.__class__(server_image="server:2", gateway_image="gateway:2", activator_image="activator:2")
    plan = make_plan(cluster.body, cluster.look(), newer, NOW)
    assert (plan.applies, plan.deletes, plan.status) == ((), (), None)


def test_a_server_that_would_misunderstand_the_orders_of_a_newer_operator_is_replaced_with_them() -> None:
    cluster = Cluster(a_body(replicas=2))
    cluster.run()
    cluster.body["status"]["resolved"]["image"] = "server:0"
    del cluster.body["status"]["resolved"]["ordersVersion"]
    cluster.run()
    assert cluster.body["status"]["image"] == "server:1"


def test_an_image_that_is_taken_back_gives_way_to_the_default_that_was_chosen() -> None:
    cluster = Cluster(a_body(replicas=1, image="mine:1"))
    cluster.run()
    assert (cluster.body["status"]["image"], cluster.body["status"]["resolved"]["image"]) == ("mine:1", "server:1")
    del cluster.body["spec"]["image"]
    cluster.run()
    assert cluster.body["status"]["image"] == "server:1"


def test_a_new_image_comes_to_one_replica_after_the_other_and_none_is_missed() -> None:
    cluster = Cluster(a_body(replicas=3))
    cluster.run()
    cluster.ready_history.clear()
    cluster.body["spec"]["image"] = "server:2"
    cluster.run()
    assert (min(cluster.ready_history), max(cluster.ready_history)) == (3, 4)
    assert {pod.metadata.labels["gptoss.dev/revision"] for pod in cluster.pods.values()} == {
        cluster.body["status"]["revision"]
    }


def test_a_revision_that_does_not_start_takes_one_replica_and_no_more() -> None:
    cluster = Cluster(a_body(replicas=3))
    cluster.run()
    cluster.body["spec"]["image"] = "broken:1"
    cluster.unready = {3}
    for _ in range(10):
        cluster.pass_once()
    assert (cluster.ready_history[-1], len(cluster.pods)) == (3, 4)
    cluster.body["spec"]["image"] = "server:2"
    cluster.unready = set()
    cluster.run()
    assert cluster.ready_history[-1] == 3


def test_an_invalid_spec_changes_the_status_only_and_names_the_field() -> None:
    cluster = Cluster(a_body(replicas=1))
    cluster.run()
    cluster.body["spec"]["tensorParallel"] = 3
    plan = make_plan(cluster.body, cluster.look(), OPTIONS, NOW)
    assert (plan.applies, plan.deletes) == ((), ())
    assert plan.status is not None
    refused = plan.status.conditions[0]
    assert (refused.type, refused.status, refused.reason) == (ConditionType.ACCEPTED, "False", Reason.INVALID_SPEC)
    assert refused.message.startswith("spec.tensorParallel: ")
    assert any(c.type is ConditionType.AVAILABLE and c.status == "True" for c in plan.status.conditions)


def test_while_a_spec_is_refused_the_status_says_whether_what_runs_still_answers() -> None:
    cluster = Cluster(a_body(replicas=2))
    cluster.run()
    cluster.body["spec"]["tensorParallel"] = 3
    cluster.run()
    assert conditions(cluster.body)["Available"] == ("True", "ReplicasReady")
    cluster.unready = {0, 1}
    cluster.pods = {}
    cluster.pass_once()
    quiet = cluster.run()
    assert conditions(cluster.body)["Available"] == ("False", "NoReplicaReady")
    assert conditions(cluster.body)["Stalled"] == ("True", "InvalidSpec")
    assert cluster.body["status"]["ready"] == "0/2"
    assert quiet.notes == ()
    cluster.unready, cluster.pods = set(), {}
    cluster.body["spec"]["tensorParallel"] = 1
    cluster.run()
    assert cluster.body["status"]["ready"] == "2/2"


@pytest.mark.parametrize("argument", ["--kv-cache-dtype=fp8", "--kv_cache_dtype", "--no-enable-prefix-caching"])
def test_an_argument_that_a_release_has_made_its_own_is_refused_before_it_stops_a_replica(argument: str) -> None:
    cluster = Cluster(a_body(replicas=1))
    cluster.run()
    cluster.body["spec"]["engine"] = {"extraArgs": [argument]}
    plan = make_plan(cluster.body, cluster.look(), OPTIONS, NOW)
    assert (plan.applies, plan.deletes) == ((), ())
    assert plan.reason.startswith("spec.engine.extraArgs: --")
    assert "set spec.engine." in plan.reason


def test_a_name_that_is_taken_is_not_accepted_and_stalls() -> None:
    problem = Problem(reason=Reason.NAME_TAKEN, message="Service chat exists and belongs to somebody else")
    observation = Observation(owner=OWNER, problems={ChildKey("Service", "chat"): problem})
    status = make_plan(a_body(), observation, OPTIONS, NOW).status
    assert status is not None
    found = {c.type: (c.status, c.reason) for c in status.conditions}
    assert found[ConditionType.ACCEPTED] == ("False", Reason.NAME_TAKEN)
    assert found[ConditionType.STALLED] == ("True", Reason.NAME_TAKEN)


def test_what_an_earlier_object_of_the_name_left_is_waited_for() -> None:
    problem = Problem(reason=Reason.EARLIER_BEING_REMOVED, message="Service chat is being removed")
    observation = Observation(owner=OWNER, problems={ChildKey("Service", "chat"): problem})
    status = make_plan(a_body(), observation, OPTIONS, NOW).status
    assert status is not None
    found = {c.type: (c.status, c.reason) for c in status.conditions}
    assert found[ConditionType.ACCEPTED] == ("True", Reason.VALID)
    assert found[ConditionType.PROGRESSING] == ("True", Reason.EARLIER_BEING_REMOVED)
    assert ConditionType.STALLED not in found


def test_scaling_to_zero_and_back() -> None:
    cluster = Cluster(a_body(replicas=2))
    cluster.run()
    cluster.body["spec"]["replicas"] = 0
    cluster.run()
    assert cluster.pods == {}
    assert conditions(cluster.body)["Available"] == ("False", "ScaledToZero")
    cluster.body["spec"]["replicas"] = 2
    cluster.run()
    assert sorted(cluster.pods) == [0, 1]


@pytest.mark.parametrize("kind", ["Service", "ConfigMap", "Deployment", "PodDisruptionBudget", "StatefulSet"])
def test_what_is_deleted_or_changed_by_somebody_else_is_put_right(kind: str) -> None:
    cluster = Cluster(a_body(replicas=2))
    cluster.run()
    key = next(key for key in cluster.children if key.kind == kind)
    changed = cluster.children[key]
    cluster.children[key] = changed.__class__(object=changed.object, applied_digest=None)
    assert [apply.key for apply in cluster.pass_once().applies] == [key]
    cluster.lose(key)
    assert [apply.key for apply in cluster.pass_once().applies] == [key]
    cluster.run()


@given(
    first=st.integers(0, 4),
    then=st.integers(0, 6),
    image=st.booleans(),
    cuts=st.lists(st.integers(0, 12), max_size=8),
)
def test_interrupted_after_any_call_it_ends_in_the_same_state(
    first: int, then: int, cuts: list[int], *, image: bool
) -> None:
    cluster = Cluster(a_body(replicas=first))
    for cut in cuts[::2]:
        cluster.pass_once(stop_after=cut)
    cluster.run()
    cluster.body["spec"]["replicas"] = then
    if image:
        cluster.body["spec"]["image"] = "server:2"
    for cut in cuts[1::2]:
        cluster.pass_once(stop_after=cut)
    cluster.run()
    assert len(cluster.pods) == then
    assert {pod.metadata.labels["gptoss.dev/revision"] for pod in cluster.pods.values()} <= {
        cluster.body["status"]["revision"]
    }
    assert cluster.body["status"]["ready"] == f"{then}/{then}"
