"""Fetches of weights that fail, or cannot begin: what is said, and how they go on."""

from gptoss_operator.core.objects import PodCondition
from gptoss_operator.core.observation import ChildKey
from tests.core.builders import a_body, a_fetching_pod, a_waiting_container
from tests.core.cached import DONE, GIVEN, MADE, OTHER_WEIGHTS, UNAUTHORISED, conditions, started, states
from tests.core.cluster import Cluster


def test_a_failed_fetch_stalls_in_the_words_of_its_last_attempt_until_the_spec_changes() -> None:
    cluster = started(MADE)
    cluster.fetches_end = None
    cluster.body["spec"]["model"] = OTHER_WEIGHTS
    cluster.pass_once()
    (job,) = cluster.jobs()
    cluster.weights_pods = (a_fetching_pod(job, phase="Failed", containers=(UNAUTHORISED,)), a_fetching_pod(job, 1))
    cluster.run()
    status, reason, message = conditions(cluster)["Degraded"]
    assert (status, reason) == ("True", "WeightsFetchFailed")
    assert message.endswith("failed: 401: see spec.model.source.huggingFace.tokenSecretRef")
    assert states(cluster)["Progressing"] == ("True", "WeightsFetching")
    cluster.end_fetches("Failed")
    quiet = cluster.run()
    assert states(cluster) == {
        "Accepted": ("True", "Valid"),
        "Available": ("True", "ReplicasReady"),
        "Progressing": ("False", "RolledBack"),
        "Degraded": ("True", "RolledBack"),
        "ModelCached": ("False", "WeightsFetchFailed"),
        "Stalled": ("True", "RolledBack"),
    }
    assert "401" in quiet.reason
    assert f"delete Job {job} to try again" in quiet.reason

    token = {"tokenSecretRef": {"name": "hub", "key": "token"}}
    cluster.body["spec"]["model"] = {"source": {"huggingFace": {"repository": "me/mine", **token}}}
    cluster.end_fetches("Complete")
    cluster.run()
    assert job not in cluster.jobs()
    assert states(cluster)["ModelCached"] == ("True", "WeightsCached")


def test_a_claim_that_grows_is_tried_again_and_one_that_is_filled_is_not() -> None:
    cluster = Cluster(a_body(replicas=1, cache=MADE))
    cluster.fetches_end = "Failed"
    cluster.run()
    (failed,) = cluster.jobs()
    cluster.fetches_end = "Complete"
    cluster.body["spec"]["cache"] = {"persistentVolumeClaim": {"size": "80Gi"}}
    cluster.run()
    (done,) = cluster.jobs()
    assert done != failed
    assert cluster.body["status"]["ready"] == "1/1"
    cluster.body["spec"]["cache"] = {"persistentVolumeClaim": {"size": "90Gi"}}
    cluster.run()
    assert cluster.jobs() == [done]


def test_a_failed_job_that_is_deleted_is_made_again() -> None:
    cluster = Cluster(a_body(replicas=1, cache=GIVEN))
    cluster.fetches_end = "Failed"
    cluster.run()
    (job,) = cluster.jobs()
    cluster.end_fetches("Complete")
    cluster.lose(ChildKey("Job", job))
    cluster.run()
    assert cluster.jobs() == [job]
    assert cluster.body["status"]["ready"] == "1/1"


def test_a_pod_of_the_job_that_cannot_start_is_explained() -> None:
    cluster = Cluster(a_body(replicas=1, cache=GIVEN))
    cluster.fetches_end = None
    cluster.pass_once()
    (job,) = cluster.jobs()
    cluster.weights_pods = (
        a_fetching_pod(job, phase="Pending", containers=(a_waiting_container("ImagePullBackOff", "no such image"),)),
    )
    cluster.run()
    assert states(cluster)["Degraded"] == ("True", "ImagePullFailed")
    assert "no such image" in conditions(cluster)["ModelCached"][2]


def test_a_pod_of_the_job_that_has_just_done_its_work_has_nothing_wrong() -> None:
    cluster = Cluster(a_body(replicas=1, cache=GIVEN))
    cluster.fetches_end = None
    cluster.pass_once()
    (job,) = cluster.jobs()
    cluster.weights_pods = (a_fetching_pod(job, phase="Running", containers=(DONE,)),)
    cluster.run()
    assert states(cluster)["Degraded"] == ("False", "AsExpected")


def test_a_pod_of_the_job_that_waits_for_a_node_is_looked_at_again_in_time() -> None:
    cluster = Cluster(a_body(replicas=1, cache=GIVEN))
    cluster.fetches_end = None
    cluster.pass_once()
    (job,) = cluster.jobs()
    waits = PodCondition(type="PodScheduled", status="False", message="0/3 nodes are available: 3 Insufficient memory")
    cluster.weights_pods = (a_fetching_pod(job, phase="Pending", conditions=(waits,)),)
    quiet = cluster.run()
    assert quiet.look_again_in_seconds == 301
    assert "Insufficient memory" in conditions(cluster)["Progressing"][2]
    assert states(cluster)["Degraded"] == ("False", "AsExpected")
