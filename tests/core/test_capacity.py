"""How many GPUs share a model, from what the spec and the nodes say."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.api.status import ConditionType, Reason
from gptoss_operator.core.actions import Plan
from gptoss_operator.core.capacity import NO_GPU_KNOWN, OTHER_GPUS, OWN_WEIGHTS, decide_parallelism
from gptoss_operator.core.objects import Node, NodeStatus, ObjectMeta
from gptoss_operator.core.parse import parse_spec, parse_status
from gptoss_operator.core.plan import make_plan
from gptoss_operator.core.quantity import bytes_of
from tests.core.builders import NOW, OPTIONS, a_body, seen
from tests.core.cluster import Cluster


LABELS = {
    "L4": {"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.memory": "23034"},
    "A100": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", "nvidia.com/gpu.memory": "81920"},
    "H200": {"nvidia.com/gpu.product": "NVIDIA-H200", "nvidia.com/gpu.memory": "143771"},
    "V100": {"nvidia.com/gpu.product": "Tesla-V100-SXM2-32GB", "nvidia.com/gpu.memory": "32768"},
    "?": {},
}
BIG = {"model": {"name": "gpt-oss-120b"}}


def a_spec(**spec: Any) -> GptOssSpec:  # noqa: ANN401 - a raw object of the API
    return parse_spec(a_body(**{**BIG, **spec}))


def some_nodes(*kinds: str, resource: str = "nvidia.com/gpu") -> dict[str, Node]:
    """Return a node for each of `kinds`, such as `L4*8`: what `LABELS` says, times so many of it."""
    nodes = {}
    for number, kind in enumerate(kinds):
        labels, _, gpus = kind.partition("*")
        name = f"node-{number}"
        meta = ObjectMeta(
            name=name, uid=name, resource_version="1", labels={**LABELS[labels], "pool": labels.lower().strip("?")}
        )
        nodes[name] = Node(metadata=meta, status=NodeStatus(allocatable={"cpu": "8", resource: gpus} if gpus else {}))
    return nodes


@pytest.mark.parametrize(
    ("spec", "nodes", "size", "said"),
    [
        ({"gpu": {"type": "A100-80GB"}}, (), 2, "needs 34.3 GiB on each of 2 A100-80GB and leaves room for 15"),
        ({"gpu": {"type": "H200"}}, (), 1, "gpt-oss-120b needs 64.3 GiB on one H200"),
        ({"gpu": {"type": "H200"}}, ("L4*8",), 1, "on one H200"),
        ({"gpu": {"memory": "80Gi"}}, (), 2, "on each of 2 GPU of 80 GiB"),
        ({"gpu": {"memory": "192Gi", "resource": "amd.com/gpu"}}, (), 1, "needs 68.6 GiB on one GPU of 192 GiB"),
        ({}, ("A100*8",), 2, "on each of 2 A100-80GB"),
        ({}, ("L4*8", "?*8", "?"), 8, "on each of 8 L4"),
        ({}, ("A100*8", "H200*8"), 2, "; planned for the smallest GPU, there are also H200"),
        ({}, ("H200*8", "L4*4"), 1, "; too small for it: L4, which spec.gpu.nodeSelector or spec.gpu.type can leave"),
        ({}, ("V100*8", "H200*8"), 1, "on one H200 and leaves room for 13 sequences of 131072 tokens; too small"),
        ({"gpu": {"nodeSelector": {"pool": "h200"}}}, ("A100*8", "H200*8"), 1, "on one H200 and leaves room for 13"),
        ({"model": {"name": "gpt-oss-20b"}}, ("L4*1",), 1, "use tensorParallel 2 or maxModelLen 16384"),
        ({"model": {"name": "gpt-oss-20b"}, "gpu": {"type": "L4"}}, ("L4*1",), 1, "on one L4"),
        ({"engine": {"maxModelLen": 8192}}, ("A100*8",), 1, "room for 15 sequences of 8192 tokens"),
        ({"engine": {"pipelineParallel": 2}, "gpu": {"type": "A100-80GB"}}, (), 1, "on each of 2 A100-80GB"),
        ({"tensorParallel": 4}, ("A100*8",), 4, "tensorParallel 4: gpt-oss-120b needs 17.2 GiB on each of 4"),
    ],
)
def test_decides_by_the_gpus_that_replicas_may_get(
    spec: dict[str, Any], nodes: tuple[str, ...], size: int, said: str
) -> None:
    decided = decide_parallelism(a_spec(**spec), None, some_nodes(*nodes), accepted=False)
    assert (decided.tensor_parallel, decided.refusal) == (size, None)
    assert said in decided.reason
    assert decided.planned is not None
    assert decided.planned.fits


@pytest.mark.parametrize(
    ("spec", "nodes", "said"),
    [
        ({}, (), NO_GPU_KNOWN),
        ({}, ("?*8", "L4"), NO_GPU_KNOWN),
        ({"gpu": {"nodeSelector": {"pool": "none"}}}, ("H200*8",), NO_GPU_KNOWN),
        ({"gpu": {"resource": "amd.com/gpu"}}, ("H200*8",), NO_GPU_KNOWN),
        ({"model": {"source": {"hostPath": {"path": "/weights"}}}}, ("H200*8",), OWN_WEIGHTS),
    ],
)
def test_takes_one_gpu_and_says_why_where_too_little_is_known(
    spec: dict[str, Any], nodes: tuple[str, ...], said: str
) -> None:
    decided = decide_parallelism(a_spec(**spec), None, some_nodes(*nodes), accepted=False)
    assert (decided.tensor_parallel, decided.reason) == (1, f"tensorParallel 1: {said}")
    assert (decided.refusal, decided.planned) == (None, None)


def test_slices_by_a_resource_of_their_own_are_not_known() -> None:
    resource = "nvidia.com/mig-3g.40gb"
    decided = decide_parallelism(
        a_spec(gpu={"resource": resource}), None, some_nodes("H200*8", resource=resource), accepted=False
    )
    assert NO_GPU_KNOWN in decided.reason


def test_slices_of_a_stated_size_share_no_model() -> None:
    gpu = {"resource": "nvidia.com/mig-1g.20gb", "memory": "20Gi"}
    decided = decide_parallelism(a_spec(gpu=gpu), None, {}, accepted=False)
    assert decided.tensor_parallel == 1


@pytest.mark.parametrize(
    ("spec", "nodes", "said"),
    [
        ({"gpu": {"type": "L4"}, "tensorParallel": 4}, (), "use tensorParallel 8"),
        ({"gpu": {"memory": "8Gi"}}, (), "take GPUs with more memory, or a smaller model"),
        ({}, ("L4*4",), "use tensorParallel 8 (no known node has more than 4 GPUs)"),
        ({}, ("V100*8",), "V100 has compute capability 7.0"),
        ({"tensorParallel": 1}, ("L4*8", "A100*8"), "use tensorParallel 2 or maxModelLen 65536"),
        ({"gpu": {"type": "A100-80GB"}, "engine": {"kvCacheDtype": "fp8"}}, (), "leave it out"),
    ],
)
def test_refuses_what_fits_on_no_gpu_that_is_known(spec: dict[str, Any], nodes: tuple[str, ...], said: str) -> None:
    decided = decide_parallelism(a_spec(**spec), None, some_nodes(*nodes), accepted=False)
    assert decided.refusal is not None
    assert said in decided.refusal


def test_what_was_decided_stays_whatever_nodes_come() -> None:
    kept = decide_parallelism(a_spec(), 2, some_nodes("L4*8", "H200*8"), accepted=True)
    assert (kept.tensor_parallel, kept.refusal) == (2, None)
    assert kept.reason.startswith("tensorParallel 2 as decided before: gpt-oss-120b needs 32.9 GiB on each of 2 H200")
    too_small = decide_parallelism(a_spec(), 2, some_nodes("L4*8"), accepted=True)
    assert (too_small.tensor_parallel, too_small.refusal) == (2, None)
    assert "use tensorParallel 8" in too_small.reason
    gone = decide_parallelism(a_spec(), 2, {}, accepted=True)
    assert (gone.tensor_parallel, gone.reason) == (2, f"tensorParallel 2: {NO_GPU_KNOWN}")


def test_a_guess_is_remembered_when_a_replica_has_worked_with_it() -> None:
    body = a_body(**BIG)
    first = make_plan(body, seen(), OPTIONS, NOW)
    assert first.status is not None
    assert first.status.resolved is not None
    assert first.status.resolved.tensor_parallel is None
    status = first.status.model_dump(by_alias=True, exclude_none=True, mode="json")
    later = make_plan({**body, "status": status}, replace(seen(), nodes=some_nodes("A100*8")), OPTIONS, NOW)
    assert later.status is not None
    assert later.status.resolved is not None
    assert later.status.resolved.tensor_parallel == 2

    cluster = Cluster(body)
    cluster.run()
    settled = parse_status(cluster.body)
    assert settled.resolved is not None
    assert settled.resolved.tensor_parallel == 1


def test_a_guess_is_decided_anew_when_the_spec_says_that_it_does_not_fit() -> None:
    decided = decide_parallelism(a_spec(gpu={"type": "L4"}), 1, {}, accepted=False)
    assert (decided.tensor_parallel, decided.refusal) == (8, None)
    fits = decide_parallelism(a_spec(gpu={"type": "H100-80GB"}), 1, {}, accepted=True)
    assert fits.tensor_parallel == 1
    assert "use tensorParallel 2" in fits.reason


def after(cluster: Cluster, nodes: dict[str, Node], **spec: Any) -> Plan:  # noqa: ANN401 - a raw spec
    """Return what a settled cluster that has `nodes` makes of a changed spec."""
    body = {**cluster.body, "spec": {**cluster.body["spec"], **spec}}
    return make_plan(body, replace(cluster.look(), nodes=nodes), OPTIONS, NOW)


def test_nodes_alone_never_refuse_what_an_earlier_release_has_accepted() -> None:
    cluster = Cluster(a_body(**BIG, tensorParallel=1))
    cluster.run()
    for name in ("tensorParallel", "plannedFor", "ordersVersion"):
        del cluster.body["status"]["resolved"][name]
    plan = after(cluster, some_nodes("L4*8"))
    assert plan.status is not None
    accepted = plan.status.conditions[0]
    assert (accepted.status, accepted.reason) == ("True", Reason.VALID)
    assert "use tensorParallel 8" in accepted.message


def test_the_planner_of_a_later_release_changes_nothing_that_was_accepted() -> None:
    kept = decide_parallelism(a_spec(gpu={"type": "L4"}), 4, {}, accepted=True)
    assert (kept.tensor_parallel, kept.refusal) == (4, None)
    stated = decide_parallelism(a_spec(gpu={"type": "L4"}, tensorParallel=2), 2, {}, accepted=True)
    assert (stated.tensor_parallel, stated.refusal) == (2, None)


def test_a_changed_spec_that_no_known_gpu_holds_is_refused_before_it_replaces_what_runs() -> None:
    cluster = Cluster(a_body(tensorParallel=1, replicas=2))
    cluster.run()
    plan = after(cluster, some_nodes("L4*8"), **BIG)
    assert (plan.applies, plan.deletes) == ((), ())
    assert plan.reason.endswith(f"use tensorParallel 8{OTHER_GPUS}")
    scaled = after(cluster, some_nodes("L4*8"), replicas=3)
    assert [apply.key.name for apply in scaled.applies if apply.key.kind == "StatefulSet"] == ["chat-r2"]


def test_auto_is_decided_anew_when_another_model_needs_it() -> None:
    cluster = Cluster(a_body())
    cluster.run()
    plan = after(cluster, some_nodes("L4*8"), **BIG)
    assert plan.status is not None
    assert plan.status.resolved is not None
    assert plan.status.resolved.tensor_parallel == 8


kinds = st.sampled_from([f"{gpu}*{number}" for gpu in LABELS for number in (1, 4, 8)])


@given(first=st.lists(kinds, max_size=4), then=st.lists(kinds, max_size=4), name=st.sampled_from(["20b", "120b"]))
def test_nodes_that_come_and_go_change_nothing_that_was_decided(first: list[str], then: list[str], name: str) -> None:
    spec = a_spec(model={"name": f"gpt-oss-{name}"})
    decided = decide_parallelism(spec, None, some_nodes(*first), accepted=False)
    if decided.refusal is None:
        later = decide_parallelism(spec, decided.tensor_parallel, some_nodes(*then), accepted=True)
        assert (later.tensor_parallel, later.refusal) == (decided.tensor_parallel, None)


def test_a_plan_says_and_remembers_what_was_decided() -> None:
    cluster = Cluster(a_body(**BIG, gpu={"type": "A100-80GB"}))
    cluster.run()
    status = parse_status(cluster.body)
    assert status.resolved is not None
    assert status.resolved.tensor_parallel == 2
    accepted = next(c for c in status.conditions if c.type is ConditionType.ACCEPTED)
    assert accepted.message.startswith("the spec can be carried out; tensorParallel 2")


def test_a_plan_that_does_not_fit_is_refused_and_touches_nothing() -> None:
    plan = make_plan(a_body(**BIG, gpu={"type": "L4"}, tensorParallel=1), seen(), OPTIONS, NOW)
    assert (plan.applies, plan.deletes) == ((), ())
    assert plan.status is not None
    found = {c.type: (c.status, c.reason) for c in plan.status.conditions}
    assert found == {
        ConditionType.ACCEPTED: ("False", Reason.DOES_NOT_FIT),
        ConditionType.STALLED: ("True", Reason.DOES_NOT_FIT),
    }
    (note,) = plan.notes
    assert (note.type, note.reason) == ("Warning", Reason.DOES_NOT_FIT)
    assert "use tensorParallel 8" in note.message


@pytest.mark.parametrize(
    ("quantity", "number"),
    [("80Gi", 80 * 2**30), ("81559Mi", 81559 * 2**20), ("1.5G", 1_500_000_000), ("1000", 1000), ("1500m", 2)],
)
def test_reads_quantities(quantity: str, number: int) -> None:
    assert bytes_of(quantity) == number
