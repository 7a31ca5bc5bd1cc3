from collections.abc import Sequence
from datetime import UTC, datetime

from gptoss_operator.api.names import COMPONENT_GATEWAY, COMPONENT_REPLICA, COMPONENT_WEIGHTS, identity
from gptoss_operator.core.objects import Child, Pod
from gptoss_operator.core.observation import ChildKey
from gptoss_operator.core.scaling.load import NOTHING_KNOWN, Load
from gptoss_operator.shell.cluster import Cluster
from gptoss_operator.shell.ledger import Ledger
from gptoss_operator.shell.observe import observe, owner_of
from gptoss_operator.shell.store import Key
from tests.shell.builders import OWNER, a_body, a_child, a_node, a_pod


CHAT = Key("demo", "chat")


def a_cluster(woken: list[Key] | None = None) -> Cluster:
    return Cluster((), (woken if woken is not None else []).append)


def test_the_owner_is_read_from_the_users_object() -> None:
    assert owner_of(a_body()) == OWNER


def test_only_children_that_the_owner_controls_are_seen() -> None:
    cluster, ledger = a_cluster(), Ledger()
    services = cluster.children["Service"]
    services.seen(None, a_child("ours", version=3))
    services.seen(None, a_child("somebodys", version=4, owner_uid="another"))
    services.seen(None, a_child("nobodys", version=5, owner_uid=None))
    ledger.record(CHAT, ChildKey("Service", "ours"), a_child("ours", version=3), "digest", identity("chat"))

    children = observe(OWNER, cluster, ledger).children

    assert list(children) == [ChildKey("Service", "ours")]
    assert children[ChildKey("Service", "ours")].applied_digest == "digest"


def test_pods_are_told_apart_and_a_copy_made_by_hand_does_not_count() -> None:
    cluster = a_cluster()
    cluster.pods.seen(None, a_pod("chat-r0-0", COMPONENT_REPLICA))
    cluster.pods.seen(None, a_pod("chat-gateway-1-x", COMPONENT_GATEWAY, controller="ReplicaSet", version=2))
    cluster.pods.seen(None, a_pod("copy-0", COMPONENT_REPLICA, controller="Job", version=3))
    cluster.pods.seen(None, a_pod("chat-weights-1-x", COMPONENT_WEIGHTS, controller="Job", version=4))

    seen = observe(OWNER, cluster, Ledger())

    assert [pod.metadata.name for pod in seen.replica_pods] == ["chat-r0-0"]
    assert [pod.metadata.name for pod in seen.gateway_pods] == ["chat-gateway-1-x"]
    assert [pod.metadata.name for pod in seen.weights_pods] == ["chat-weights-1-x"]


def test_a_change_of_a_node_wakes_the_deployments_on_it_and_those_that_wait_for_one() -> None:
    woken: list[Key] = []
    cluster = a_cluster(woken)
    cluster.pods.seen(None, a_pod("chat-r0-0", COMPONENT_REPLICA, node="n1"))
    cluster.nodes.seen(None, a_node("n1"))
    cluster.nodes.seen(None, a_node("n2", version=2))
    woken.clear()

    cluster.nodes.seen(None, a_node("n2", version=3, unschedulable=True))
    assert woken == []
    cluster.nodes.seen(None, a_node("n1", version=4, labels={"heartbeat": "7"}))
    assert woken == []
    cluster.nodes.seen(None, a_node("n1", version=5, unschedulable=True))
    assert woken == [CHAT]
    cluster.pods.seen(None, a_pod("chat-r0-0", COMPONENT_REPLICA, node="", version=6))
    woken.clear()
    cluster.nodes.seen(None, a_node("n2", version=7))
    assert woken == [CHAT]


def test_nodes_are_seen_by_name() -> None:
    cluster = a_cluster()
    cluster.nodes.seen(None, a_node("n1"))

    assert list(observe(OWNER, cluster, Ledger()).nodes) == ["n1"]


def a_secret(name: str, version: int) -> Child:
    return a_child(name, version=version, owner_uid=None)


def test_secrets_are_seen_by_version_as_far_as_they_may_be_read() -> None:
    cluster = a_cluster()
    assert observe(OWNER, cluster, Ledger(), secret_names=["keys"]).secrets is None

    cluster.secrets.replace(None, [a_secret("keys", 3), a_secret("other", 4)], "9")
    assert observe(OWNER, cluster, Ledger(), secret_names=["keys", "cert"]).secrets == {"keys": "3"}

    cluster.secrets.not_watched(None)
    assert observe(OWNER, cluster, Ledger(), secret_names=["keys"]).secrets is None


def test_a_change_of_a_secret_wakes_those_who_use_it() -> None:
    woken: list[Key] = []
    cluster = Cluster((), woken.append, lambda secret: [CHAT] if secret == Key("demo", "keys") else [])

    cluster.secrets.seen(None, a_secret("keys", 3))
    cluster.secrets.seen(None, a_secret("other", 4))
    cluster.secrets.seen(None, a_secret("keys", 5))
    cluster.secrets.seen_gone(None, a_secret("keys", 6))

    assert woken == [CHAT, CHAT, CHAT]


def test_the_load_and_who_is_out_of_reach_are_asked_for_with_the_pods_that_are_seen() -> None:
    cluster = a_cluster()
    cluster.pods.seen(None, a_pod("chat-r0-0", COMPONENT_REPLICA))
    cluster.pods.seen(None, a_pod("chat-r1-0", COMPONENT_REPLICA, version=2))
    cluster.pods.seen(None, a_pod("chat-gateway-1-x", COMPONENT_GATEWAY, controller="ReplicaSet", version=3))
    load, since = Load(queued=3.0), datetime(2026, 1, 1, tzinfo=UTC)

    def load_of(gateways: Sequence[Pod], replicas: Sequence[Pod], deployment: Key) -> Load:
        assert [pod.metadata.name for pod in gateways] == ["chat-gateway-1-x"]
        assert [pod.metadata.name for pod in replicas] == ["chat-r0-0", "chat-r1-0"]
        assert deployment == CHAT
        return load

    seen = observe(
        OWNER,
        cluster,
        Ledger(),
        load_of=load_of,
        out_of_reach_since=lambda uid: since if uid == "chat-r1-0-uid" else None,
    )

    assert seen.load is load
    assert seen.unreachable == {"chat-r1-0-uid": since}
    assert observe(OWNER, cluster, Ledger()).load == NOTHING_KNOWN
