"""A rollout may be interrupted after any write: another process goes on, and it ends in the same state."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from gptoss_operator.core.actions import Plan
from tests.rollout.simulated import Behaviour
from tests.rollout.world import World, a_world


SCENARIOS: dict[str, Callable[[World], None]] = {
    "forward, surge": lambda world: world.upgrade("server:2"),
    "forward, no room": lambda world: world.upgrade("server:2"),
    "forward, blue and green": lambda world: world.upgrade("server:2", strategy="BlueGreen"),
    "forward, two at a time": lambda world: world.upgrade("server:2", maxSurge=1, maxUnavailable=1),
    "wrong answers": lambda world: world.upgrade("server:2", Behaviour(answers=False)),
    "never ready": lambda world: world.upgrade("server:2", Behaviour(starts=False)),
    "worse than the others": lambda world: world.upgrade("server:2", Behaviour(failed=0.5)),
    "wrong answers, no room": lambda world: world.upgrade("server:2", Behaviour(answers=False)),
}
NODES = {"forward, no room": 3, "forward, blue and green": 6, "wrong answers, no room": 3}


def begun(scenario: str) -> World:
    """Return a world in which a change was just asked for."""
    world = a_world(nodes=NODES.get(scenario, 5))
    SCENARIOS[scenario](world)
    return world


def calls_of(plan: Plan) -> int:
    """Return how many writes a plan has, the status included."""
    return len(plan.applies) + len(plan.deletes) + len(plan.annotates) + (plan.status is not None)


def end_of(world: World) -> dict[str, Any]:
    """Return what a user sees at the end: no times, no names that are luck."""
    status = world.status
    return {
        "images": sorted(world.images()),
        "shares": sorted(world.shares().values()),
        "current": status["currentRevision"],
        "refused": (status.get("refusedRevision") or {}).get("reason"),
        "rollout": status.get("rollout"),
        "conditions": [(c["type"], c["status"], c["reason"]) for c in status["conditions"]],
        "history": [(entry["image"], entry["outcome"]) for entry in status["history"]],
        "records": sorted(key.name for key in world.children if key.kind == "ControllerRevision"),
    }


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_whatever_write_is_the_last_the_next_process_ends_in_the_same_state(scenario: str) -> None:
    whole = begun(scenario)
    writes, least = [], 0
    for _ in range(400):
        plan = whole.tick()
        writes.append(calls_of(plan))
        if not whole.rollout and sum(writes[-6:]) == 0:
            break
    end, least = end_of(whole), min(whole.serving)
    assert sum(writes) > 3
    for number, calls in enumerate(writes):
        for cut in range(calls):
            world = begun(scenario)
            for _ in range(number):
                world.tick()
            world.now += timedelta(seconds=5)
            world.pass_once(stop_after=cut)
            world.memory = None
            world.settle()
            assert end_of(world) == end, f"cut after write {cut} of pass {number}"
            assert min(world.serving) >= least
            assert end["refused"] is None or max(world.bad) <= 1


# Without memory nothing can be compared: the canary passes by the time that it was watched.
@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name != "worse than the others"])
def test_a_process_that_remembers_nothing_ends_in_the_same_state(scenario: str) -> None:
    whole = begun(scenario)
    whole.settle()
    forgetful = begun(scenario)
    forgetful.forgets = True
    forgetful.until(lambda: not forgetful.rollout and forgetful.plans[-1].status is None)
    forgetful.settle()
    assert end_of(forgetful) == end_of(whole)
