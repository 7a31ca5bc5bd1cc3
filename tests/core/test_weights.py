"""Weights in a cache claim: what fetches them, and what waits until they are there."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_operator.core.actions import Plan
from gptoss_operator.core.observation import ChildKey
from gptoss_runtime.orders import WEIGHTS_ENV, ServerOrders, WeightsOrder
from tests.core.builders import a_body
from tests.core.cached import GIVEN, MADE, OTHER_WEIGHTS, applied, conditions, settled, started, states
from tests.core.cluster import Cluster


def test_without_a_claim_each_replica_fetches_for_itself_and_nothing_waits() -> None:
    cluster = Cluster(a_body(replicas=1, cache={"hostPath": {"path": "/var/lib/weights"}}))
    assert applied(cluster.pass_once()) == ["chat-r0"]
    cluster.run()
    assert "ModelCached" not in conditions(cluster)
    assert cluster.jobs() == []


def test_a_claim_is_made_then_filled_and_then_replicas_start() -> None:
    cluster = Cluster(a_body(replicas=2, cache=MADE))
    cluster.fetches_end = None
    assert applied(cluster.pass_once()) == ["chat-cache"]
    (job,) = applied(cluster.pass_once())
    assert job.startswith("chat-weights-")
    quiet = cluster.run()
    assert quiet.reason == (f"waiting: Job {job} has no pod yet: if that lasts, `kubectl describe job {job}` says why")
    assert states(cluster) == {
        "Accepted": ("True", "Valid"),
        "Available": ("False", "NoReplicaReady"),
        "Progressing": ("True", "WeightsFetching"),
        "Degraded": ("False", "AsExpected"),
        "ModelCached": ("False", "WeightsFetching"),
        "Reconciling": ("True", "WeightsFetching"),
    }
    cluster.end_fetches("Complete")
    begun = cluster.pass_once()
    assert applied(begun) == ["chat-r0", "chat-r1"]
    assert begun.notes[0].reason == "WeightsCached"
    cluster.run()
    assert conditions(cluster)["ModelCached"] == (
        "True",
        "WeightsCached",
        "hf://openai/gpt-oss-20b is in claim chat-cache",
    )
    assert cluster.body["status"]["ready"] == "2/2"
    assert cluster.jobs() == [job], "it is kept, to be looked at"


def test_the_users_claim_is_filled_and_never_made_or_deleted() -> None:
    cluster = started(GIVEN)
    assert len(cluster.jobs()) == 1
    assert not [key for key in cluster.children if key.kind == "PersistentVolumeClaim"]


def test_replicas_of_a_filled_claim_need_no_secret_and_no_network() -> None:
    source = {"huggingFace": {"repository": "me/mine", "tokenSecretRef": {"name": "hub", "key": "token"}}}
    cluster = Cluster(a_body(replicas=1, cache=GIVEN, model={"source": source}))
    (job,) = [a.manifest for a in cluster.pass_once().applies if a.key.kind == "Job"]
    (replica,) = [a.manifest for a in cluster.pass_once().applies if a.key.kind == "StatefulSet"]
    (fetch,) = job["spec"]["template"]["spec"]["containers"]
    (server,) = replica["spec"]["template"]["spec"]["containers"]
    orders = ServerOrders.decode(next(e["value"] for e in server["env"] if e["name"] == "GPTOSS_SERVER"))
    order = WeightsOrder.decode(next(e["value"] for e in fetch["env"] if e["name"] == WEIGHTS_ENV))
    assert orders.weights is None
    assert orders.model == order.directory
    assert order.directory.startswith("/cache/weights/me--mine-")
    assert orders.compile_cache == "/cache/compile"
    assert "HF_TOKEN" in {e["name"] for e in fetch["env"]}
    assert "HF_TOKEN" not in {e["name"] for e in server["env"]}
    claim = {"name": "cache", "persistentVolumeClaim": {"claimName": "weights"}}
    assert claim in job["spec"]["template"]["spec"]["volumes"]
    assert claim in replica["spec"]["template"]["spec"]["volumes"]


@pytest.mark.parametrize("then", [0, 1, 2, 4])
def test_while_other_weights_are_fetched_what_runs_stays_and_further_ones_are_like_it(then: int) -> None:
    cluster = started(MADE)
    before = {key: child.object.metadata.uid for key, child in cluster.children.items() if key.kind == "StatefulSet"}
    revisions = {pod.metadata.labels["gptoss.dev/revision"] for pod in cluster.pods.values()}
    cluster.fetches_end = None
    cluster.body["spec"] |= {"model": OTHER_WEIGHTS, "replicas": then}
    cluster.run()
    now = {key: child.object.metadata.uid for key, child in cluster.children.items() if key.kind == "StatefulSet"}
    assert now.items() <= before.items() or before.items() <= now.items()
    assert len(now) == then
    assert {pod.metadata.labels["gptoss.dev/revision"] for pod in cluster.pods.values()} <= revisions
    assert states(cluster)["Progressing"] == ("True", "WeightsFetching")
    cluster.end_fetches("Complete")
    cluster.run()
    assert cluster.body["status"]["ready"] == f"{then}/{then}"
    assert not {pod.metadata.labels["gptoss.dev/revision"] for pod in cluster.pods.values()} & revisions


def test_a_finished_job_that_somebody_deletes_is_not_needed_again() -> None:
    cluster = started(MADE)
    (job,) = cluster.jobs()
    cluster.lose(ChildKey("Job", job))
    assert settled(cluster)
    cluster.body["spec"]["replicas"] = 3
    cluster.run()
    assert (cluster.jobs(), cluster.body["status"]["ready"]) == ([], "3/3")


def test_a_claim_that_is_made_anew_is_filled_again_and_what_runs_stays() -> None:
    cluster = started(MADE)
    before = dict(cluster.pods)
    cluster.fetches_end = None
    cluster.lose(ChildKey("PersistentVolumeClaim", "chat-cache"))
    cluster.run()
    assert states(cluster)["ModelCached"] == ("False", "WeightsFetching")
    assert cluster.pods == before
    cluster.end_fetches("Complete")
    cluster.run()
    assert cluster.pods == before
    assert len(cluster.jobs()) == 1


def test_going_back_to_weights_that_are_there_fetches_nothing() -> None:
    cluster = started(MADE)
    former = cluster.body["spec"]["model"]
    cluster.body["spec"]["model"] = OTHER_WEIGHTS
    cluster.run()
    assert len(cluster.body["status"]["cachedWeights"]) == 2
    cluster.fetches_end = None
    cluster.body["spec"]["model"] = former
    cluster.run()
    assert cluster.jobs() == []
    assert cluster.body["status"]["ready"] == "2/2"


def test_a_new_image_of_the_server_fetches_nothing_again() -> None:
    cluster = started(MADE)
    jobs = cluster.jobs()
    cluster.fetches_end = None
    cluster.body["spec"]["image"] = "server:2"
    cluster.run()
    assert cluster.jobs() == jobs
    assert cluster.body["status"]["updatedReplicas"] == 2


def test_weights_are_fetched_ahead_of_the_first_replica() -> None:
    cluster = Cluster(a_body(replicas=0, cache=MADE))
    cluster.run()
    assert states(cluster)["ModelCached"] == ("True", "WeightsCached")


def test_a_claim_that_is_not_wanted_any_more_goes_after_the_last_replica_that_uses_it() -> None:
    cluster = started(MADE)
    claim = ChildKey("PersistentVolumeClaim", "chat-cache")
    del cluster.body["spec"]["cache"]
    cluster.unready = {0, 1}
    for _ in range(5):
        cluster.pass_once()
        assert claim in cluster.children
    cluster.unready = set()
    cluster.pods = {}
    cluster.run()
    assert claim not in cluster.children
    assert cluster.jobs() == []


def test_the_status_tells_of_the_last_fetches_only() -> None:
    cluster = Cluster(a_body(replicas=0, cache=GIVEN))
    for number in range(20):
        cluster.body["spec"]["model"] = {"source": {"huggingFace": {"repository": f"me/n{number}"}}}
        cluster.run()
    directories = [entry["directory"] for entry in cluster.body["status"]["cachedWeights"]]
    assert [directory.rsplit("-", 1)[0] for directory in directories] == [f"me--n{n}" for n in range(4, 20)]


@given(
    ends=st.lists(st.sampled_from([None, "Complete", "Failed"]), max_size=6),
    cuts=st.lists(st.integers(0, 14), max_size=8),
    models=st.lists(st.sampled_from(["a/a", "b/b", "c/c"]), min_size=1, max_size=4),
    made=st.booleans(),
)
def test_no_replica_begins_before_its_weights_and_interrupted_anywhere_it_ends_the_same(
    ends: list[str | None], cuts: list[int], models: list[str], *, made: bool
) -> None:
    cluster = Cluster(a_body(replicas=2, cache=MADE if made else GIVEN))
    filled: set[str] = set()
    for number, repository in enumerate(models):
        cluster.body["spec"]["model"] = {"source": {"huggingFace": {"repository": repository}}}
        cluster.fetches_end = ends[number] if number < len(ends) else "Complete"
        for cut in (*cuts, None):
            plan = cluster.pass_once(stop_after=cut)
            filled |= {entry["directory"] for entry in cluster.body.get("status", {}).get("cachedWeights", ())}
            filled |= {entry.directory for entry in (plan.status and plan.status.cached_weights) or ()}
            begun = {
                a.manifest["spec"]["template"]["spec"]["containers"][0]["env"][-1]["value"] for a in replicas(plan)
            }
            assert {ServerOrders.decode(text).model.rsplit("/", 1)[-1] for text in begun} <= filled
    cluster.fetches_end = "Complete"
    for job in cluster.jobs():
        cluster.lose(ChildKey("Job", job))
    cluster.run()
    assert cluster.body["status"]["ready"] == "2/2"
    assert cluster.body["status"]["updatedReplicas"] == 2
    assert states(cluster)["ModelCached"] == ("True", "WeightsCached")
    assert settled(cluster)


def replicas(plan: Plan) -> list[Any]:
    return [apply for apply in plan.applies if apply.key.kind == "StatefulSet"]
