"""The gateway's pods as a whole: nothing is settled while one of an earlier configuration answers."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from gptoss_operator.api.names import ANNOTATION_CONFIG, gateway
from gptoss_operator.api.status import ConditionType
from gptoss_operator.core.actions import Plan
from gptoss_operator.core.objects import Annotations, Pod
from gptoss_operator.core.observation import ChildKey
from gptoss_operator.core.parse import parse_status
from gptoss_operator.core.plan import make_plan
from gptoss_operator.core.render.haproxy.files import ENDPOINT_GRACE_SECONDS
from tests.core.builders import NOW, OPTIONS, OWNER, a_body, a_gateway_pod, with_annotations
from tests.core.cluster import Cluster


KEYS = {"routing": {"apiKeys": {"secretName": "keys"}}}
GRACE_SECONDS = 3700
EARLIER = ("True", "GatewayRolling")
SETTLED = ("False", "Settled")


class Settled(Cluster):
    """A settled deployment, whose gateway pods stay as they are from then on."""

    def __init__(self, **spec: Any) -> None:  # noqa: ANN401 - a raw spec
        super().__init__(a_body(**spec))
        self.run()
        self.gateways = self.look().gateway_pods

    def plan(self, *gateways: Pod, later: timedelta = timedelta(0)) -> Plan:
        return make_plan(self.body, replace(self.look(), gateway_pods=gateways), OPTIONS, NOW + later)

    def config(self) -> str:
        deployment = self.manifests[ChildKey("Deployment", gateway(OWNER.name))]
        digest: str = deployment["spec"]["template"]["metadata"]["annotations"][ANNOTATION_CONFIG]
        return digest


def progressing(cluster: Cluster, plan: Plan) -> tuple[str, str]:
    """Return the condition as the plan leaves it."""
    status = plan.status or parse_status(cluster.body)
    return next((c.status, c.reason) for c in status.conditions if c.type is ConditionType.PROGRESSING)


def of_now(cluster: Settled, number: int) -> Pod:
    return with_annotations(a_gateway_pod(number), Annotations(config=cluster.config()))


def deleted(pod: Pod, ago: timedelta) -> Pod:
    """Return the pod as the API server shows it after it was deleted."""
    ends = NOW - ago + timedelta(seconds=GRACE_SECONDS)
    metadata = msgspec.structs.replace(
        pod.metadata, deletion_timestamp=ends, deletion_grace_period_seconds=GRACE_SECONDS
    )
    return msgspec.structs.replace(pod, metadata=metadata)


@pytest.mark.parametrize("change", [KEYS, {"routing": {"gateway": {"image": "gateway:2"}}}], ids=["keys", "image"])
def test_a_change_is_not_settled_before_all_gateways_have_it(change: dict[str, Any]) -> None:
    cluster = Settled()
    before = cluster.gateways
    cluster.change(**change)
    cluster.pass_once()
    assert progressing(cluster, cluster.plan(*before)) == EARLIER
    one_new = (before[1], of_now(cluster, 7))
    assert progressing(cluster, cluster.plan(*one_new)) == EARLIER
    assert progressing(cluster, cluster.plan(of_now(cluster, 7), of_now(cluster, 8))) == SETTLED


def test_one_that_leaves_counts_for_as_long_as_nodes_may_send_it_requests() -> None:
    cluster = Settled()
    earlier = cluster.gateways[0]
    cluster.change(**KEYS)
    cluster.pass_once()
    new = (of_now(cluster, 7), of_now(cluster, 8))
    open_still = cluster.plan(*new, deleted(earlier, ago=timedelta(seconds=1)))
    assert progressing(cluster, open_still) == EARLIER
    assert open_still.look_again_in_seconds == pytest.approx(ENDPOINT_GRACE_SECONDS - 1)
    # From then on it refuses connections, and only lets requests end that it has.
    grace = timedelta(seconds=ENDPOINT_GRACE_SECONDS)
    closed = cluster.plan(*new, deleted(earlier, ago=timedelta(seconds=1)), later=grace)
    assert (progressing(cluster, closed), closed.look_again_in_seconds) == (SETTLED, None)


def test_how_many_answer_as_before_is_said() -> None:
    cluster = Settled()
    before = cluster.gateways
    cluster.change(**KEYS)
    assert cluster.pass_once().status is not None
    plan = cluster.plan(*before, of_now(cluster, 7))
    assert plan.reason == "waiting: new requests may still reach 2 gateway pods of an earlier configuration"


def test_what_leaves_with_the_same_configuration_is_no_matter() -> None:
    cluster = Settled()
    gone = deleted(cluster.gateways[0], ago=timedelta(seconds=1))
    plan = cluster.plan(*cluster.gateways, gone)
    assert (progressing(cluster, plan), plan.look_again_in_seconds) == (SETTLED, None)


def test_the_digest_is_of_all_that_the_pods_are_made_from() -> None:
    configs = {Settled(**change).config() for change in ({}, KEYS, {"routing": {"gateway": {"image": "gateway:2"}}})}
    assert len(configs) == 3
    assert Settled().config() == Settled(scaling={"minReplicas": 1}, replicas=None).config()
