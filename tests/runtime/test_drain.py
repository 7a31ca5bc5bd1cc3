"""When a replica leaves, and in which steps."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.contract import Notice, NoticeKind
from gptoss_runtime.server.drain import (
    CUT_BEFORE_SECONDS,
    KILL_AFTER_CUT_SECONDS,
    KILL_AFTER_SECONDS,
    NOTICE_MARGIN_SECONDS,
    DrainLimits,
    DrainSeen,
    DrainStep,
    Reasons,
    cut_at,
    is_time,
    matters,
    next_step,
)


LIMITS = DrainLimits(endpoint_grace_seconds=5, drain_seconds=120)
ASKED = Reasons(asked_at=100)
BUSY = DrainSeen(now=100, began_at=100, was_ready=True, in_flight=2, cut=False, since_terminate_seconds=None)
GOES = Reasons(noticed_at=100, machine_goes_at=220)
"""Two minutes, as AWS gives them."""


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        (BUSY, DrainStep.WAIT),
        (replace(BUSY, in_flight=0), DrainStep.WAIT),
        (replace(BUSY, in_flight=0, now=105), DrainStep.TERMINATE),
        (replace(BUSY, now=224.9), DrainStep.WAIT),
        (replace(BUSY, in_flight=None, now=224.9), DrainStep.WAIT),
        (replace(BUSY, now=225), DrainStep.CUT),
        (replace(BUSY, in_flight=None, now=225), DrainStep.CUT),
        (replace(BUSY, now=225, cut=True), DrainStep.TERMINATE),
        (replace(BUSY, was_ready=False), DrainStep.TERMINATE),
        (replace(BUSY, since_terminate_seconds=4.9), DrainStep.WAIT),
        (replace(BUSY, since_terminate_seconds=5), DrainStep.KILL),
        (replace(BUSY, cut=True, since_terminate_seconds=1.9), DrainStep.WAIT),
        (replace(BUSY, cut=True, since_terminate_seconds=2), DrainStep.KILL),
    ],
)
def test_ends_when_kubernetes_asks(seen: DrainSeen, step: DrainStep) -> None:
    assert next_step(LIMITS, ASKED, seen).step is step


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        (BUSY, DrainStep.WAIT),
        (replace(BUSY, in_flight=0, now=106), DrainStep.WAIT),
        (replace(BUSY, now=214.9), DrainStep.WAIT),
        (replace(BUSY, now=215), DrainStep.CUT),
        (replace(BUSY, now=215, cut=True), DrainStep.WAIT),
        (replace(BUSY, now=400, cut=True), DrainStep.WAIT),
        (replace(BUSY, was_ready=False), DrainStep.WAIT),
    ],
)
def test_stays_when_the_machine_goes_and_cuts_before_it(seen: DrainSeen, step: DrainStep) -> None:
    assert next_step(LIMITS, GOES, seen).step is step


def test_says_why_requests_are_cut() -> None:
    asked = next_step(LIMITS, ASKED, replace(BUSY, now=225))
    assert asked.reason == "120 s of draining have passed; 2 requests are cut off"
    goes = next_step(LIMITS, GOES, replace(BUSY, now=215, in_flight=None))
    assert goes.reason == "the machine is about to go; an unknown number of requests are cut off"


def test_a_notice_begins_the_drain_as_late_as_requests_still_have_their_time() -> None:
    late = replace(GOES, machine_goes_at=1000)
    begins = 1000 - LIMITS.seconds - NOTICE_MARGIN_SECONDS
    assert not is_time(LIMITS, late, begins - 0.1)
    assert is_time(LIMITS, late, begins)
    assert cut_at(LIMITS, late, begins) == 1000 - CUT_BEFORE_SECONDS >= begins + LIMITS.seconds
    assert is_time(LIMITS, GOES, 100)
    assert is_time(LIMITS, Reasons(noticed_at=100), 100)
    assert not is_time(LIMITS, Reasons(), 100)
    assert is_time(LIMITS, replace(late, asked_at=100), 100)


def test_only_what_stops_the_machine_matters() -> None:
    assert not matters(None)
    assert not matters(Notice(kind=NoticeKind.REBALANCE, source="AWS"))
    assert matters(Notice(kind=NoticeKind.TERMINATION, source="AWS"))
    assert matters(Notice(kind=NoticeKind.MAINTENANCE, source="Azure"))


def test_a_signal_goes_on_from_where_the_notice_began() -> None:
    both = replace(GOES, asked_at=150)
    assert next_step(LIMITS, both, replace(BUSY, now=150, in_flight=0)).step is DrainStep.TERMINATE
    assert next_step(LIMITS, both, replace(BUSY, now=215)).step is DrainStep.CUT
    assert next_step(LIMITS, both, replace(BUSY, now=230, cut=True)).step is DrainStep.TERMINATE


MOMENTS = st.floats(0, 1000)


@given(MOMENTS, MOMENTS, st.one_of(st.none(), MOMENTS), MOMENTS)
def test_a_second_reason_never_makes_the_deadline_later(
    began: float, noticed: float, goes: float | None, asked: float
) -> None:
    notice = Reasons(noticed_at=noticed, machine_goes_at=goes)
    both = replace(notice, asked_at=asked)
    only_asked = Reasons(asked_at=asked)
    assert cut_at(LIMITS, both, began) <= cut_at(LIMITS, notice, began)
    assert cut_at(LIMITS, both, began) <= cut_at(LIMITS, only_asked, began)


@given(
    st.floats(0, 60),
    st.floats(0, 600),
    st.booleans(),
    st.lists(st.one_of(st.none(), st.integers(0, 100)), min_size=1, max_size=200),
    st.one_of(st.none(), st.floats(0, 600)),
    st.floats(0.1, 5),
)
def test_every_drain_ends_in_time_and_cuts_and_terminates_once(
    grace: float,
    drain: float,
    was_ready: bool,  # noqa: FBT001
    loads: list[int | None],
    goes: float | None,
    tick: float,
) -> None:
    limits = DrainLimits(endpoint_grace_seconds=grace, drain_seconds=drain)
    reasons = Reasons(asked_at=0.0, noticed_at=None if goes is None else 0.0, machine_goes_at=goes)
    now, cut, terminated, index = 0.0, False, None, 0
    while True:
        seen = DrainSeen(
            now=now,
            began_at=0.0,
            was_ready=was_ready,
            in_flight=loads[index % len(loads)],
            cut=cut,
            since_terminate_seconds=None if terminated is None else now - terminated,
        )
        decision = next_step(limits, reasons, seen)
        assert decision.reason
        assert now <= grace + drain + KILL_AFTER_SECONDS + 3 * tick
        if cut:
            assert now <= cut_at(limits, reasons, 0.0) + KILL_AFTER_CUT_SECONDS + 4 * tick or now <= 4 * tick
        match decision.step:
            case DrainStep.KILL:
                return
            case DrainStep.CUT:
                assert not cut
                assert now >= cut_at(limits, reasons, 0.0)
                cut = True
            case DrainStep.TERMINATE:
                assert terminated is None
                assert cut or seen.in_flight == 0 or not was_ready
                terminated = now
            case DrainStep.WAIT | DrainStep.LIFT:
                pass
        now, index = now + tick, index + 1
