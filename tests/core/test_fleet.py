"""Which slots are taken, kept and removed."""

from hypothesis import given
from hypothesis import strategies as st

from gptoss_operator.core.fleet import Action, NewReplica, Replica, Step, decide_fleet, held, replicas_of
from gptoss_operator.core.placed import placed_replicas
from gptoss_operator.core.placement.decision import MarketMemory
from gptoss_operator.core.placement.placement import decide_placement
from gptoss_operator.core.placement.policy import PlacementPolicy
from gptoss_operator.core.scaling.supply import ColdStart
from tests.core.builders import NOW, a_pod, a_replica_set, a_spec, seen


OLD, NEW = "old", "new"


def fleet(*replicas: tuple[int, str, bool]) -> tuple[Replica, ...]:
    """Return replicas from (slot, revision, ready)."""
    return replicas_of(
        seen(
            [a_replica_set(slot, revision) for slot, revision, _ in replicas],
            [a_pod(slot, revision=revision, ready=ready) for slot, revision, ready in replicas],
        ),
        NOW,
    )


def steps_to(desired: int, replicas: tuple[Replica, ...]) -> tuple[Step, ...]:
    """Return what is done for so many replicas on any machines."""
    placement = decide_placement(
        PlacementPolicy(),
        desired,
        needed_now=None,
        replicas=placed_replicas(replicas, {}, seen(), a_spec(), NOW),
        interruptions=(),
        memory=MarketMemory(),
        cold_start=ColdStart(),
        now=NOW.timestamp(),
    )
    creates = [NewReplica(place=create.place, revision=NEW, reason=create.reason) for create in placement.creates]
    return decide_fleet(creates, placement.removes, replicas, {})


def actions(desired: int, replicas: tuple[Replica, ...]) -> dict[int, Action]:
    return {step.slot: step.action for step in steps_to(desired, replicas)}


def test_creates_the_lowest_free_slots() -> None:
    assert actions(3, fleet((1, NEW, True))) == {0: Action.CREATE, 1: Action.KEEP, 2: Action.CREATE}


def test_passes_over_a_slot_whose_pod_still_leaves() -> None:
    leaving = replicas_of(seen([], [a_pod(0, revision=NEW, leaving=True)]), NOW)
    assert actions(1, leaving) == {1: Action.CREATE}


def test_removes_what_is_not_ready_first_then_the_highest_slot() -> None:
    replicas = fleet((0, NEW, False), (1, NEW, True), (2, NEW, True))
    assert actions(2, replicas)[0] is Action.REMOVE
    assert actions(1, replicas) == {0: Action.REMOVE, 1: Action.KEEP, 2: Action.REMOVE}


def test_a_replica_keeps_its_revision_and_gets_the_share_that_was_decided() -> None:
    steps = decide_fleet((), (), fleet((0, OLD, True), (1, NEW, True)), {1: 25})
    assert [(s.slot, s.revision, s.share) for s in steps] == [(0, OLD, 100), (1, NEW, 25)]


def test_what_has_no_template_is_not_made_stays_as_it_is_and_may_go() -> None:
    replicas = fleet((0, OLD, False), (1, OLD, True), (2, NEW, True), (3, OLD, True))
    grow, shrink = (held(steps_to(desired, replicas), [OLD]) for desired in (6, 2))
    assert {s.slot: s.action for s in grow} == {0: Action.KEEP, 1: Action.KEEP, 2: Action.HOLD, 3: Action.KEEP}
    assert {s.slot: s.action for s in shrink} == {0: Action.REMOVE, 1: Action.KEEP, 2: Action.HOLD, 3: Action.REMOVE}


@given(
    desired=st.integers(0, 6),
    replicas=st.lists(
        st.tuples(st.integers(0, 8), st.sampled_from([OLD, NEW]), st.booleans()), max_size=8, unique_by=lambda r: r[0]
    ),
)
def test_bounds_hold_for_any_fleet(desired: int, replicas: list[tuple[int, str, bool]]) -> None:
    steps = steps_to(desired, fleet(*replicas))
    remaining = [step for step in steps if step.action is not Action.REMOVE]
    assert len(remaining) == desired
    assert len({step.slot for step in steps}) == len(steps)
    assert all(step.reason for step in steps)
    ready = {slot for slot, _, is_ready in replicas if is_ready}
    removed_ready = [s for s in steps if s.action is Action.REMOVE and s.slot in ready]
    kept_unready = [s for s in steps if s.action is Action.KEEP and s.slot not in ready]
    assert not (removed_ready and kept_unready)
