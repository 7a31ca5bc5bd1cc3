"""What a new replica has shown, and whether another one has room."""

from dataclasses import replace

import msgspec
import pytest

from gptoss_operator.core.objects import NodeSpec, Taint
from gptoss_operator.core.rollout.gates import first_gates, passed_all
from gptoss_operator.core.rollout.policy import policy_of
from gptoss_operator.core.rollout.room import room_of
from gptoss_operator.core.rollout.waves import choose_pace
from gptoss_runtime.contract import CheckResult
from tests.core.builders import a_spec, a_state, seen
from tests.rollout.world import a_node


GOOD, BAD, UNKNOWN = (CheckResult(ok=ok, detail="as the test says") for ok in (True, False, None))


def shown(*, up: bool = True, hears: bool = True, **checks: CheckResult) -> list[tuple[str, str]]:
    state = a_state(checks=dict(checks)) if checks else None
    return [(str(gate.name), str(gate.result)) for gate in first_gates(state, up=up, hears=hears)]


def test_gates_are_looked_at_one_after_the_other() -> None:
    assert shown(up=False) == [("Ready", "Pending")]
    assert shown(model_loaded=GOOD) == [("Ready", "Passed"), ("DeepHealth", "Passed"), ("GoldenPrompts", "Passed")]
    assert shown(model_loaded=BAD, golden_prompts=GOOD) == [("Ready", "Passed"), ("DeepHealth", "Failed")]
    assert shown(golden_prompts=UNKNOWN)[-1] == ("GoldenPrompts", "Pending")
    assert shown(golden_prompts=BAD)[-1] == ("GoldenPrompts", "Failed")


def test_memory_that_is_short_for_a_moment_is_waited_for() -> None:
    assert shown(memory_available=BAD)[-1] == ("DeepHealth", "Pending")
    assert shown(memory_available=BAD, inference_working=BAD)[-1] == ("DeepHealth", "Failed")


def test_a_replica_that_says_nothing_passes_only_where_nobody_asks() -> None:
    assert shown() == [("Ready", "Passed"), ("DeepHealth", "Pending")]
    silent = first_gates(None, up=True, hears=False)
    assert passed_all(silent)
    assert "--scrape-seconds 0" in silent[-1].message
    assert not passed_all(())


def test_room_is_what_nodes_have_and_pods_have_not() -> None:
    nodes = {f"n{number}": a_node(f"n{number}") for number in range(4)}
    observation = replace(seen(), nodes=nodes, gpus_used={"n0": 1, "gone": 1})
    assert room_of(a_spec(), 1, observation, claimed=0).replicas == 3
    assert room_of(a_spec(), 1, observation, claimed=2).replicas == 1
    assert room_of(a_spec(), 2, observation, claimed=0).replicas == 0
    assert room_of(a_spec(), 1, seen(), claimed=0).replicas is None


def test_nodes_that_no_replica_may_use_are_no_room() -> None:
    def replicas(**spec: object) -> int | None:
        tainted = NodeSpec(taints=(Taint(key="team", effect="NoSchedule", value="a"),))
        nodes = {
            "cordoned": msgspec.structs.replace(a_node("cordoned"), spec=NodeSpec(unschedulable=True)),
            "tainted": msgspec.structs.replace(a_node("tainted"), spec=tainted),
        }
        return room_of(a_spec(**spec), 1, replace(seen(), nodes=nodes), claimed=0).replicas

    assert replicas() == 0
    assert replicas(gpu={"tolerations": [{"key": "team", "operator": "Equal", "value": "a"}]}) == 1
    assert replicas(gpu={"tolerations": [{"operator": "Exists"}], "nodeSelector": {"gpu": "h100"}}) == 0


@pytest.mark.parametrize(
    ("surge", "unavailable", "expected"),
    [
        (1, 0, (1, 0)),
        ("25%", 0, (3, 0)),
        (0, "25%", (0, 2)),
        (0, 0, (0, 1)),
        ("0%", "5%", (0, 1)),
        ("100%", 3, (10, 3)),
    ],
)
def test_shares_of_replicas_are_rounded_as_in_a_deployment(
    surge: int | str, unavailable: int | str, expected: tuple[int, int]
) -> None:
    spec = a_spec(rollout={"strategy": "Replace", "maxSurge": surge, "maxUnavailable": unavailable}).rollout
    policy = policy_of(spec, 10, ())
    assert (policy.surge, policy.unavailable) == expected


def test_auto_surges_no_more_than_there_is_room_for() -> None:
    nodes = {f"n{number}": a_node(f"n{number}") for number in range(2)}
    room = room_of(a_spec(), 1, replace(seen(), nodes=nodes), claimed=0)
    pace = choose_pace(policy_of(a_spec(rollout={"maxSurge": 5}).rollout, 10, ()), room, 10)
    assert (str(pace.strategy), pace.surge) == ("Surge", 2)
