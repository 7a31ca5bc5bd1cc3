"""What holds whatever happens: the user's bounds, the end of every interrupted pass, and pods that outlive notices."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_operator.core.plan import make_plan
from gptoss_operator.core.scaling.load import Load, ReplicaLoad
from tests.core.builders import NOW, OPTIONS, a_body, seen
from tests.core.fleets import ZONES, Fleet, a_load, idle


NUMBERS = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 1e4)
LOADS = st.builds(
    Load,
    gateway_age_seconds=NUMBERS,
    arrivals_1m=NUMBERS,
    arrivals_5m=NUMBERS,
    arrivals_earlier=NUMBERS,
    queued=NUMBERS,
    held=NUMBERS,
    in_flight=NUMBERS,
    idle_seconds=NUMBERS,
    ttft_p95_seconds=NUMBERS,
    replicas=st.dictionaries(
        st.integers(0, 8),
        st.builds(
            ReplicaLoad,
            running=NUMBERS,
            waiting=NUMBERS,
            in_flight=NUMBERS,
            kv_usage=NUMBERS,
            tokens_per_second=NUMBERS,
        ),
        max_size=3,
    ),
)
EVENTS = st.sampled_from(["load", "idle", "taint", "take", "dry", "wet", "forget", "silence", "wait"])


def happen(fleet: Fleet, event: str) -> None:
    """Let something happen to a fleet."""
    slots = sorted(slot for slot, pod in fleet.pods.items() if pod.spec.node_name)
    match event:
        case "load":
            fleet.load = a_load(4.0)
        case "idle":
            fleet.load = idle(30.0)
        case "taint" if slots:
            fleet.taint(slots[-1], "karpenter.sh/disrupted")
        case "take" if slots:
            fleet.take_node(slots[0])
        case "dry":
            fleet.dry = {("spot", zone) for zone in ZONES}
        case "wet":
            fleet.dry = set()
        case "forget":
            fleet.memory = None
        case "silence" if slots:
            fleet.unreachable = {fleet.pods[slots[-1]].metadata.uid: fleet.now}
        case _:
            fleet.unreachable = {}
    fleet.tick(3)


@settings(max_examples=40, deadline=None)
@given(loads=st.lists(LOADS, min_size=1, max_size=6), low=st.integers(0, 3), more=st.integers(0, 3))
def test_the_users_bounds_hold_whatever_is_measured(loads: list[Load], low: int, more: int) -> None:
    high = max(1, low + more)
    fleet = Fleet(scaling={"minReplicas": low, "maxReplicas": high})
    for load in loads:
        fleet.load = load
        fleet.tick(2)
        assert low <= len(fleet.pods) <= high
        assert low <= fleet.status["desiredReplicas"] <= high


@settings(max_examples=12, deadline=None)
@given(events=st.lists(EVENTS, max_size=6), cuts=st.lists(st.integers(0, 6), max_size=6))
def test_stopped_after_any_write_and_started_anew_it_ends_the_same(events: list[str], cuts: list[int]) -> None:
    fleet = Fleet(
        scaling={
            "minReplicas": 1,
            "maxReplicas": 5,
            "down": {"stabilizationSeconds": 0, "percent": 100, "periodSeconds": 5},
        },
        spot={"enabled": True, "maxExtra": 1, "fallbackSeconds": 30, "onDemandMinSeconds": 30, "returnSeconds": 10},
    )
    for number, event in enumerate(events):
        happen(fleet, event)
        if number < len(cuts):
            fleet.pass_once(stop_after=cuts[number])
            fleet.memory = None
    fleet.dry, fleet.unreachable, fleet.load = set(), {}, idle()
    fleet.tick(120)
    quiet = fleet.tick()
    assert (quiet.applies, quiet.deletes, quiet.notes) == ((), (), ()), quiet.reason
    assert fleet.status["desiredReplicas"] == 1
    assert fleet.kinds() == {"on-demand": 1}
    assert fleet.status["ready"] == "1/1"


@settings(max_examples=12, deadline=None)
@given(events=st.lists(st.sampled_from(["load", "idle", "dry", "wet", "forget", "wait"]), max_size=6))
def test_while_no_machine_goes_as_many_are_ready_as_the_user_asks_for(events: list[str]) -> None:
    fleet = Fleet(scaling={"minReplicas": 2, "maxReplicas": 5}, spot={"enabled": True, "maxExtra": 1})
    fleet.settle()
    fleet.ready_history.clear()
    for event in events:
        happen(fleet, event)
    fleet.tick(20)
    assert min(fleet.ready_history) >= 2


def a_pod_spec(**spec: Any) -> dict[str, Any]:  # noqa: ANN401 - a raw object of the API
    plan = make_plan(a_body(replicas=1, **spec), seen(), OPTIONS, NOW)
    manifest = next(a.manifest for a in plan.applies if a.key.kind == "StatefulSet")
    pod: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return pod


@given(drain=st.integers(0, 86400))
def test_pitfall_15_a_pod_has_more_time_to_end_than_its_requests_have(drain: int) -> None:
    """What runs longer than the notice of the cloud is cut by the replica itself, before its machine goes."""
    assert a_pod_spec(drainSeconds=drain)["terminationGracePeriodSeconds"] > drain


def test_pitfall_15_a_notice_removes_the_replica_while_its_requests_can_still_end() -> None:
    fleet = Fleet(scaling={"minReplicas": 2, "maxReplicas": 2}, drainSeconds=3600)
    fleet.settle()
    fleet.taint(0, "cloud.google.com/impending-node-termination")
    plan = fleet.tick()
    assert [delete.key for delete in plan.deletes] == [("StatefulSet", "chat-r0")]
    assert [apply.key for apply in plan.applies] == [("StatefulSet", "chat-r2")]


def test_pitfall_16_the_server_that_drains_is_the_first_process_and_vllm_is_not_signalled_first() -> None:
    """What a stream does meanwhile: `test_32_streams_end_by_themselves_within_a_drain_of_60_seconds`, end to end."""
    pod = a_pod_spec(drainSeconds=77)
    (server,) = pod["containers"]
    assert server["command"] == ["gptoss-server"]
    assert "args" not in server
    assert "lifecycle" not in server
    orders = next(variable["value"] for variable in server["env"] if variable["name"] == "GPTOSS_SERVER")
    assert '"drain_seconds":77' in orders
