"""The next step for any fleet: what holds whatever the replicas are like."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gptoss_operator.api.rollout import Strategy
from gptoss_operator.api.status import Reason
from gptoss_operator.api.status_rollout import GateResult
from gptoss_operator.core.rollout.gates import Gate, GateName
from gptoss_operator.core.rollout.members import Machine, Member, Trouble
from gptoss_operator.core.rollout.policy import RolloutPolicy
from gptoss_operator.core.rollout.situation import Hold, RolloutStep, Situation, Wait
from gptoss_operator.core.rollout.step import next_step
from gptoss_operator.core.rollout.waves import Pace, sizes_of


NOW = 1000.0
OLD, NEW, OTHER = "old", "new", "other"
SURGE = Pace(strategy=Strategy.SURGE, surge=1, unavailable=0, reason="as the test says")
REPLACE = Pace(strategy=Strategy.REPLACE, surge=0, unavailable=1, reason="as the test says")
PASSED = Gate(name=GateName.READY, result=GateResult.PASSED, message="up")
PENDING = Gate(name=GateName.READY, result=GateResult.PENDING, message="starting")


def a_member(slot: int, revision: str = OLD, **fields: object) -> Member:
    member = Member(slot=slot, revision=revision, serving=True, up=True, gates=(PASSED,))
    return replace(member, **fields)  # type: ignore[arg-type]  # fields of Member


def a_situation(members: Sequence[Member], **fields: object) -> Situation:
    replaced = sum(m.replaces is not None for m in members)
    wanted = len(members) - replaced
    s = Situation(goal=NEW, keep=OLD, members=tuple(members), wanted=wanted, least=wanted, pace=SURGE)
    return replace(s, **fields)  # type: ignore[arg-type]  # fields of Situation


def step_of(*members: Member, policy: RolloutPolicy | None = None, **fields: object) -> RolloutStep:
    return next_step(policy or RolloutPolicy(), a_situation(members, **fields), NOW)


def test_the_replica_with_the_fewest_requests_is_replaced_first() -> None:
    members = [a_member(slot, in_flight=number) for slot, number in enumerate((5.0, 1.0, 3.0))]
    assert [s.replaces for s in step_of(*members).successors] == [1]


def test_what_does_not_serve_is_replaced_before_what_does() -> None:
    members = [a_member(0, in_flight=0.0), a_member(1, serving=False, failing=True)]
    assert [s.replaces for s in step_of(*members).successors] == [1]
    proven = step_of(*members, a_member(2, NEW))
    assert ([r.slot for r in proven.retires], proven.successors) == ([1], ()), "it has nothing to lose"


def test_nothing_leaves_before_its_successor_serves() -> None:
    starting = a_member(3, NEW, replaces=0, share=0, serving=False, up=False, gates=(PENDING,))
    step = step_of(a_member(0), a_member(1), starting)
    assert (step.retires, step.successors, dict(step.shares)) == ((), (), {})


def test_a_predecessor_stays_while_another_replica_is_missing() -> None:
    members = [a_member(0), a_member(1, serving=False), a_member(3, NEW, replaces=0)]
    assert step_of(*members).retires == ()
    assert [r.slot for r in step_of(*members, policy=RolloutPolicy(unavailable=1)).retires] == [0]


def test_the_next_wave_waits_for_those_that_leave() -> None:
    step = step_of(a_member(0), a_member(3, NEW), leaving=1)
    assert (step.wait, step.successors) == (Wait.LEAVING, ())


def test_a_replica_that_was_never_let_in_goes_when_its_revision_is_not_wanted() -> None:
    stray = a_member(3, OTHER, share=0, replaces=0, serving=False)
    assert [r.slot for r in step_of(a_member(0), stray).retires] == [3]
    served = a_member(3, OTHER)
    assert step_of(a_member(0), served).retires == ()


def test_nobody_leaves_because_one_serves_that_leaves_itself() -> None:
    canary_of_before = a_member(1, OTHER, share=25)
    step = step_of(a_member(0), canary_of_before, pace=REPLACE)
    assert [r.slot for r in step.retires] == [1]


def test_one_that_gets_no_machine_makes_an_old_one_leave_with_auto_only() -> None:
    waiting = a_member(3, NEW, replaces=0, share=0, serving=False, machine=Machine.SHORT, since=NOW - 11)
    members = (a_member(0), a_member(1), waiting)
    assert [r.slot for r in step_of(*members).retires] == [0]
    assert step_of(*members, policy=RolloutPolicy(strategy=Strategy.SURGE)).retires == ()
    assert step_of(*members, grows=True).retires == (), "a node may come for it"
    late = replace(waiting, machine=Machine.WAITS, since=NOW - 601)
    assert [r.slot for r in step_of(a_member(0), a_member(1), late, grows=True).retires] == [0]


def test_a_hold_stops_waves_but_not_what_was_let_in() -> None:
    hold = Hold(wait=Wait.PAUSE, reason="paused")
    ready = a_member(3, NEW, replaces=0, share=0, serving=False)
    step = step_of(a_member(0), a_member(1), ready, hold=hold)
    assert (step.wait, step.successors, step.retires) == (Wait.PAUSE, (), ())
    assert dict(step.shares) == {3: 25}


def test_new_replicas_of_the_placement_are_of_the_old_revision_until_the_new_one_is_proven() -> None:
    assert step_of(a_member(0), creates=2, moving=True).of_goal == 0
    assert step_of(a_member(0), creates=2, moving=True, pace=REPLACE).of_goal == 1
    assert step_of(a_member(0), a_member(1, NEW), creates=2, moving=True).of_goal == 2
    assert step_of(a_member(0), creates=2, moving=True, can_keep=False).of_goal == 2
    assert step_of(creates=2, moving=True).of_goal == 1


GATES = st.sampled_from([(PASSED,), (PENDING,)])
MEMBERS = st.lists(
    st.builds(
        lambda revision, share, machine, up, serving, fated, failing, gates, in_flight: Member(
            slot=0,
            revision=revision,
            share=share if revision != OLD else 100,
            machine=machine,
            since=NOW - 700,
            up=up,
            serving=serving and up and share > 0 and machine is Machine.HAS and not fated,
            fated=fated,
            failing=failing and not serving,
            gates=gates,
            in_flight=in_flight,
        ),
        st.sampled_from([OLD, OLD, NEW, OTHER]),
        st.sampled_from([0, 25, 100]),
        st.sampled_from([Machine.HAS, Machine.HAS, Machine.HAS, Machine.WAITS, Machine.SHORT]),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        GATES,
        st.one_of(st.none(), st.floats(0, 100)),
    ),
    max_size=8,
)
PACES = st.builds(
    lambda strategy, surge, unavailable: Pace(strategy=strategy, surge=surge, unavailable=unavailable, reason="any"),
    st.sampled_from([Strategy.SURGE, Strategy.REPLACE, Strategy.BLUE_GREEN]),
    st.integers(0, 3),
    st.integers(0, 2),
).filter(lambda pace: pace.wave > 0 and (pace.surge == 0) == (pace.strategy is Strategy.REPLACE))


@given(
    members=MEMBERS,
    pairs=st.sets(st.integers(0, 7), max_size=3),
    pace=PACES,
    unavailable=st.integers(0, 2),
    creates=st.integers(0, 3),
    leaving=st.integers(0, 2),
    trusted=st.booleans(),
    held=st.booleans(),
    troubled=st.booleans(),
)
def test_bounds_hold_for_any_fleet(
    members: list[Member],
    pairs: set[int],
    pace: Pace,
    unavailable: int,
    creates: int,
    leaving: int,
    *,
    trusted: bool,
    held: bool,
    troubled: bool,
) -> None:
    numbered = [replace(member, slot=slot) for slot, member in enumerate(members)]
    old = [m.slot for m in numbered if m.revision != NEW]
    paired = [
        replace(m, replaces=old[m.slot % len(old)]) if m.revision == NEW and old and m.slot in pairs else m
        for m in numbered
    ]
    if troubled and paired:
        paired[-1] = replace(paired[-1], trouble=Trouble(reason=Reason.CRASH_LOOP, message="it ends"))
    s = a_situation(
        paired,
        pace=pace,
        creates=creates,
        moving=creates > 0,
        leaving=leaving,
        keep=NEW if trusted else OLD,
        trusted=trusted,
        hold=Hold(wait=Wait.PAUSE, reason="held") if held else None,
    )
    policy = RolloutPolicy(unavailable=unavailable)
    step = next_step(policy, s, NOW)
    assert step.reason
    if step.failure:
        assert not trusted
        assert (step.successors, step.retires, dict(step.shares)) == ((), (), {})
        return
    slots = {m.slot: m for m in paired}
    retired = [slots[remove.slot] for remove in step.retires]
    assert len({m.slot for m in retired}) == len(retired), "each leaves once"
    assert {successor.replaces for successor in step.successors} <= {m.slot for m in s.old}
    assert not {successor.replaces for successor in step.successors} & {m.slot for m in retired}
    serving_left = sum(m.serving for m in paired if m.is_open) - sum(m.serving for m in retired if m.is_open)
    serving = sum(m.serving for m in paired if m.is_open)
    gone = serving - serving_left
    if gone:
        missing = max(1, unavailable, pace.unavailable)
        in_vain = sum(m.waits and m.replaces is None for m in paired)
        assert serving_left >= min(serving, s.least - missing - in_vain) or all(m.revision == NEW for m in retired)
    if not s.proven:
        unopened = [m for m in s.new if m not in retired]
        made = len(step.successors) + step.of_goal - step.put_off
        assert made <= max(0, 1 - len(unopened)) or not s.can_keep
    assert step.put_off <= step.of_goal <= creates
    if held and not trusted:
        assert step.successors == ()
    assert all(share in (0, 25, 100) for share in step.shares.values())


@given(replicas=st.integers(0, 200), wave=st.integers(1, 20), first=st.integers(1, 20))
def test_steps_grow_to_the_whole(replicas: int, wave: int, first: int) -> None:
    sizes = sizes_of(replicas, wave, first)
    assert (sizes[-1] if sizes else 0) == replicas
    assert all(0 < later - earlier <= wave for earlier, later in pairwise(sizes))
