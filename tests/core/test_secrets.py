"""Secrets of the gateway: who is told of a new version, and what is said of one that is missing."""

from dataclasses import replace
from typing import Any

import msgspec

from gptoss_operator.api.status import ConditionType, Reason
from gptoss_operator.core.actions import Annotate, Plan
from gptoss_operator.core.objects import Annotations, Pod
from gptoss_operator.core.observation import ChildKey, Problem
from gptoss_operator.core.parse import secret_names
from gptoss_operator.core.plan import make_plan
from gptoss_runtime.contract import ExitCode
from tests.core.builders import (
    NOW,
    OPTIONS,
    a_body,
    a_gateway_pod,
    a_replica_set,
    an_ended_container,
    seen,
    with_annotations,
)
from tests.core.builders import a_pod as a_replica_pod
from tests.core.cluster import Cluster


ROUTING = {"apiKeys": {"secretName": "keys"}}


def a_pod(number: int, *, told: str = "", leaving: bool = False) -> Pod:
    pod = with_annotations(a_gateway_pod(number), Annotations(keys_version=told))
    metadata = msgspec.structs.replace(pod.metadata, deletion_timestamp=NOW if leaving else None)
    return msgspec.structs.replace(pod, metadata=metadata)


def plan(*pods: Pod, secrets: dict[str, str] | None, routing: dict[str, Any] = ROUTING) -> Plan:
    return make_plan(a_body(routing=routing), replace(seen(), gateway_pods=pods, secrets=secrets), OPTIONS, NOW)


def condition(found: Plan, wanted: ConditionType) -> tuple[str, str, str]:
    assert found.status is not None
    (only,) = (c for c in found.status.conditions if c.type is wanted)
    return only.status, only.reason, only.message


def test_gateways_that_know_another_version_are_told() -> None:
    found = plan(a_pod(0, told="7"), a_pod(1, told="6"), a_pod(2), a_pod(3, leaving=True), secrets={"keys": "7"})
    assert [(a.pod, a.uid, a.annotation, a.value) for a in found.annotates] == [
        ("chat-gateway-1", "chat-gateway-1", "gptoss.dev/keys", "7"),
        ("chat-gateway-2", "chat-gateway-2", "gptoss.dev/keys", "7"),
    ]
    assert "annotate Pod chat-gateway-1: the kubelet is to bring it the newest API keys at once" in found.reason


def test_nobody_is_told_without_keys_without_the_secret_or_without_the_right_to_see_it() -> None:
    assert plan(a_pod(0), secrets={"keys": "7"}, routing={}).annotates == ()
    assert plan(a_pod(0), secrets={}).annotates == ()
    assert plan(a_pod(0), secrets=None).annotates == ()


def test_a_missing_secret_is_named_with_the_remedy_and_the_spec_stays_accepted() -> None:
    found = plan(secrets={})
    status, reason, message = condition(found, ConditionType.DEGRADED)
    assert (status, reason) == ("True", Reason.SECRET_NOT_FOUND)
    assert message.startswith("Secret keys does not exist: create it with the API keys of each tenant")
    assert "until then every request is refused" in message
    assert condition(found, ConditionType.ACCEPTED)[0] == "True"


def test_nothing_is_said_of_secrets_that_may_not_be_read() -> None:
    assert condition(plan(secrets=None), ConditionType.DEGRADED)[0] == "False"


def test_every_secret_that_the_gateway_uses_is_looked_for() -> None:
    content_filter = {"url": "http://guard/v1", "model": "m", "policy": "p", "apiKeySecretName": "guard"}
    routing = {**ROUTING, "tls": {"secretName": "cert"}, "contentFilter": content_filter}
    assert secret_names(a_body(routing=routing)) == {"keys", "cert", "guard"}
    message = condition(plan(secrets={}, routing=routing), ConditionType.DEGRADED)[2]
    assert [f"Secret {name} does not exist" in message for name in ("keys", "cert", "guard")] == [True] * 3
    assert condition(plan(secrets={"cert": "1", "guard": "1", "keys": "1"}, routing=routing), ConditionType.DEGRADED)[
        0
    ] == ("False")


def test_names_of_secrets_are_found_in_a_spec_that_is_not_understood() -> None:
    assert secret_names({"spec": {"routing": {"apiKeys": {"secretName": "keys"}, "tls": None, "nonsense": 1}}}) == {
        "keys"
    }
    assert secret_names({"spec": None}) == secret_names({}) == frozenset()


def test_a_kind_that_is_not_installed_degrades_and_nothing_more() -> None:
    problem = Problem(reason=Reason.KIND_NOT_INSTALLED, message="the cluster has no InferencePool: install it")
    body = a_body(routing={"inferencePool": {"endpointPickerName": "picker"}})
    observation = replace(seen(), problems={ChildKey("InferencePool", "chat-replicas"): problem})
    found = make_plan(body, observation, OPTIONS, NOW)
    assert condition(found, ConditionType.DEGRADED)[1] == Reason.KIND_NOT_INSTALLED
    assert condition(found, ConditionType.ACCEPTED)[0] == "True"
    assert ("InferencePool", "chat-replicas") in {tuple(apply.key) for apply in found.applies}


def test_a_failing_replica_goes_before_a_missing_secret() -> None:
    failing = a_replica_pod(0, containers=(an_ended_container(ExitCode.ENGINE_DIED),))
    observation = replace(seen([a_replica_set(0, "r")], [failing]), secrets={})
    found = make_plan(a_body(routing=ROUTING), observation, OPTIONS, NOW)
    assert condition(found, ConditionType.DEGRADED)[1] == Reason.ENGINE_DIED


def test_with_keys_and_pool_it_settles_and_a_new_version_or_a_field_taken_out_is_one_write() -> None:
    cluster = Cluster(a_body(replicas=2, routing={**ROUTING, "inferencePool": {"endpointPickerName": "picker"}}))
    cluster.secrets = {"keys": "7"}
    quiet = cluster.run()
    assert (quiet.applies, quiet.deletes, quiet.annotates, quiet.status, quiet.notes) == ((), (), (), None, ())
    cluster.secrets = {"keys": "8"}
    told = cluster.pass_once()
    assert {a.value for a in told.annotates} == {"8"}
    assert all(isinstance(a, Annotate) for a in told.annotates)
    assert (told.applies, told.deletes, told.status) == ((), (), None)
    assert cluster.pass_once().annotates == ()
    del cluster.body["spec"]["routing"]["inferencePool"]
    assert [delete.key for delete in cluster.pass_once().deletes] == [ChildKey("InferencePool", "chat-replicas")]
    cluster.run()
