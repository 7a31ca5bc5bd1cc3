from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gptoss_operator.api.names import COMPONENT_REPLICA
from gptoss_operator.core.objects import Pod, gpus_of
from gptoss_operator.core.parse import gpu_resource
from gptoss_operator.shell.cluster import Cluster
from gptoss_operator.shell.ledger import Ledger
from gptoss_operator.shell.observe import observe
from tests.shell.builders import OWNER, a_body, an_object


NVIDIA, AMD = "nvidia.com/gpu", "amd.com/gpu"


def a_pod(
    name: str,
    *limits: dict[str, str],
    node: str = "n1",
    phase: str = "Running",
    version: int = 1,
    deployment: str = "chat",
) -> Pod:
    containers = [{"name": str(number), "resources": {"limits": given}} for number, given in enumerate(limits)]
    raw = an_object(
        "Pod",
        name,
        version=version,
        deployment=deployment,
        spec={"nodeName": node, "containers": [*containers, {"name": "idle"}]},
        status={"phase": phase},
    )
    raw["metadata"]["labels"]["app.kubernetes.io/component"] = COMPONENT_REPLICA
    return msgspec.convert(raw, Pod)


def test_the_gpus_of_a_pod_are_those_of_its_containers() -> None:
    pod = a_pod("a", {NVIDIA: "4", "memory": "64Gi"}, {NVIDIA: "1"}, {"cpu": "2"})

    assert (gpus_of(pod, NVIDIA), gpus_of(pod, AMD), gpus_of(pod, "memory")) == (5, 0, 0)


def test_gpus_are_those_of_all_deployments_by_node() -> None:
    cluster = Cluster((), lambda _: None)
    for number, pod in enumerate(
        (
            a_pod("a", {NVIDIA: "2"}),
            a_pod("b", {NVIDIA: "4"}, deployment="another"),
            a_pod("c", {NVIDIA: "1"}, node="n2"),
            a_pod("d", {AMD: "8"}),
            a_pod("waits", {NVIDIA: "1"}, node="", phase="Pending"),
            a_pod("ended", {NVIDIA: "1"}, phase="Failed"),
            a_pod("gateway", {"memory": "1Gi"}, node="n3"),
        )
    ):
        cluster.pods.seen(None, msgspec.structs.replace(pod, metadata=_at(pod, number + 1)))

    seen = observe(OWNER, cluster, Ledger(), gpu_resource=NVIDIA)

    assert seen.gpus_used == {"n1": 6, "n2": 1}
    assert observe(OWNER, cluster, Ledger(), gpu_resource=AMD).gpus_used == {"n1": 8}
    assert observe(OWNER, cluster, Ledger(), gpu_resource="example.com/none").gpus_used == {}


def _at(pod: Pod, version: int) -> msgspec.Struct:
    return msgspec.structs.replace(pod.metadata, resource_version=str(version))


def test_what_a_pass_has_seen_does_not_change_under_it() -> None:
    cluster = Cluster((), lambda _: None)
    cluster.pods.seen(None, a_pod("a", {NVIDIA: "2"}))
    seen = observe(OWNER, cluster, Ledger(), gpu_resource=NVIDIA)

    cluster.pods.replace(None, [], "9")

    assert seen.gpus_used == {"n1": 2}
    assert observe(OWNER, cluster, Ledger(), gpu_resource=NVIDIA).gpus_used == {}


CHANGES = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.one_of(
            st.none(),
            st.tuples(
                st.sampled_from(["", "n1", "n2"]),
                st.sampled_from(["Pending", "Running", "Succeeded", "Failed"]),
                st.integers(0, 8),
            ),
        ),
    ),
    max_size=30,
)


@given(CHANGES)
def test_counts_are_right_after_any_changes(changes: list[tuple[str, tuple[str, str, int] | None]]) -> None:
    cluster, expected = Cluster((), lambda _: None), dict[str, tuple[str, int]]()
    for version, (name, state) in enumerate(changes, 1):
        node, phase, gpus = state or ("", "", 0)
        pod = a_pod(name, {NVIDIA: str(gpus)} if gpus else {}, node=node, phase=phase, version=version)
        expected.pop(name, None)
        if state is None:
            cluster.pods.seen_gone(None, pod)
        else:
            cluster.pods.seen(None, pod)
            if node and gpus and phase in ("Pending", "Running"):
                expected[name] = node, gpus
    total = Counter[str]()
    for node, gpus in expected.values():
        total[node] += gpus

    assert cluster.gpus_used.of(NVIDIA) == total


def test_the_resource_is_the_one_of_the_spec_or_its_default() -> None:
    assert gpu_resource({}) == gpu_resource(a_body() | {"spec": {"gpu": {"nodeSelector": {}}}}) == NVIDIA
    assert gpu_resource(a_body() | {"spec": {"gpu": {"resource": AMD}, "model": 7}}) == AMD
