import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptoss_operator.core.observation import Manifest
from gptoss_operator.errors import Conflict, LeaseLost, NotFound, Refused, Unavailable
from gptoss_operator.shell.claim import (
    DURATION_SECONDS,
    HOLD_SECONDS,
    Record,
    Sight,
    Step,
    claimed,
    look,
    next_claim,
    record_of,
    released,
)
from gptoss_operator.shell.lease import RENEW_SECONDS, RETRY_SECONDS, Lease
from tests.shell.builders import in_virtual_time


NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def a_record(holder: str, renewal: object = 0, version: str | None = "1") -> Record:
    return Record(holder=holder, duration_seconds=DURATION_SECONDS, renewal=str(renewal), version=version)


# What to do about a Lease.


@pytest.mark.parametrize(
    ("sight", "step", "reason"),
    [
        (None, Step.CREATE, "nobody has had it yet"),
        (Sight(record=a_record(""), since=100), Step.UPDATE, "it was released"),
        (Sight(record=a_record("a"), since=100), Step.UPDATE, "it is ours"),
        (Sight(record=a_record("a", version=None), since=100), Step.CREATE, "it is ours"),
        (Sight(record=a_record("b"), since=100 - 14.9), Step.WAIT, "b holds it"),
        (Sight(record=a_record("b", version=None), since=100 - 14.9), Step.WAIT, "b holds it"),
        (Sight(record=a_record("b"), since=100 - 15), Step.UPDATE, "b has not renewed it for 15 s"),
        (Sight(record=a_record("b", version=None), since=100 - 15), Step.CREATE, "b has not renewed it for 15 s"),
    ],
)
def test_a_lease_is_claimed_when_it_is_free_or_has_been_still_for_its_duration(
    sight: Sight | None, step: Step, reason: str
) -> None:
    claim = next_claim(sight, "a", 100)

    assert (claim.step, claim.reason) == (step, reason)


def test_the_duration_is_the_holders_own() -> None:
    record = Record(holder="b", duration_seconds=60, renewal="", version="1")

    assert next_claim(Sight(record=record, since=0), "a", 59).step is Step.WAIT
    assert next_claim(Sight(record=record, since=0), "a", 60).step is Step.UPDATE


def test_the_time_runs_from_the_first_sight_of_a_renewal_and_labels_do_not_count() -> None:
    first = look(None, a_record("b", renewal=1, version="1"), 10)
    again = look(first, a_record("b", renewal=1, version="2"), 20)
    renewed = look(again, a_record("b", renewal=2, version="3"), 30)

    assert first is not None
    assert again == Sight(record=a_record("b", renewal=1, version="2"), since=10)
    assert renewed == Sight(record=a_record("b", renewal=2, version="3"), since=30)


def test_a_time_in_the_lease_that_is_long_past_or_to_come_means_nothing() -> None:
    for years in (-10, 10):
        lease = claimed(None, "ns", "name", "b", NOON + timedelta(days=365 * years))
        lease["metadata"]["resourceVersion"] = "1"
        sight = look(None, record_of(lease), 0)
        assert next_claim(sight, "a", DURATION_SECONDS - 0.1).step is Step.WAIT
        assert next_claim(sight, "a", DURATION_SECONDS).step is Step.UPDATE


def test_a_lease_that_is_gone_binds_for_its_duration_from_when_that_was_seen() -> None:
    held = look(None, a_record("b", version="1"), 0)
    gone = look(held, None, 14)

    assert look(None, None, 14) is None
    assert gone == look(gone, None, 20) == Sight(record=a_record("b", version=None), since=14)


@given(
    st.lists(st.tuples(st.floats(0, 20), st.sampled_from(["renew", "read", "delete"]), st.floats(0, 3)), max_size=40),
    st.floats(-1e6, 1e6),
)
def test_no_other_claims_a_lease_within_its_duration_wherever_their_clocks_stand(
    events: list[tuple[float, str, float]], offset: float
) -> None:
    now = renewed_at = 0.0
    renewal = 0
    there = True
    sight = look(None, a_record("b", renewal), now + offset)
    for pause, event, answer_seconds in events:
        now += pause
        if event == "renew" and there:
            renewal, renewed_at = renewal + 1, now
        elif event == "delete":
            there = False
        else:
            sight = look(sight, a_record("b", renewal) if there else None, now + answer_seconds + offset)
            if next_claim(sight, "a", now + answer_seconds + offset).step is not Step.WAIT:
                assert now + answer_seconds - renewed_at >= DURATION_SECONDS - 1e-6


def test_a_claim_keeps_what_others_wrote_and_counts_the_holders() -> None:
    theirs = {
        "metadata": {"name": "name", "resourceVersion": "7", "labels": {"a": "b"}},
        "spec": {"holderIdentity": "b", "acquireTime": "2026-01-01T00:00:00.000000Z", "leaseTransitions": 4},
    }
    taken = claimed(theirs, "ns", "name", "a", NOON)
    renewed = claimed(taken, "ns", "name", "a", NOON + timedelta(seconds=5))

    assert taken["metadata"] == theirs["metadata"]
    assert taken["spec"] == {
        "holderIdentity": "a",
        "acquireTime": "2026-05-01T12:00:00.000000Z",
        "renewTime": "2026-05-01T12:00:00.000000Z",
        "leaseTransitions": 5,
        "leaseDurationSeconds": 15,
    }
    assert renewed["spec"] == taken["spec"] | {"renewTime": "2026-05-01T12:00:05.000000Z"}
    assert released(renewed)["spec"] == renewed["spec"] | {"holderIdentity": ""}


def test_a_lease_that_a_person_made_without_a_spec_is_free() -> None:
    bare = {"metadata": {"resourceVersion": "1"}}

    assert record_of(bare).holder == ""
    assert record_of(claimed({**bare, "spec": None}, "ns", "name", "a", NOON)).holder == "a"


# What a process does about it.


@dataclass
class Trip:
    """What becomes of one call on its way."""

    out_seconds: float = 0.0
    back_seconds: float = 0.0
    lost: str = ""
    """The question or the answer, or neither."""


@dataclass
class Shelf:
    """Keeps one Lease as an API server does: with versions, and no update of an old one."""

    lease: Manifest | None = None
    trips: Iterator[Trip] = field(default_factory=lambda: itertools.repeat(Trip()))
    refusal: Exception | None = None
    calls: list[str] = field(default_factory=list)
    versions: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    processes: list["Process"] = field(default_factory=list)
    """All that have asked."""

    async def get(self, kind: str, namespace: str, name: str) -> Manifest:
        assert (kind, namespace, name) == ("Lease", "ns", "name")
        return await self._travel("get", self._get)

    async def create(self, manifest: Manifest) -> Manifest:
        return await self._travel("create", lambda: self._create(manifest))

    async def replace(self, manifest: Manifest) -> Manifest:
        return await self._travel("replace", lambda: self._replace(manifest))

    @property
    def holder(self) -> str:
        return record_of(self.lease).holder if self.lease else ""

    async def _travel(self, what: str, answer: Callable[[], Manifest]) -> Manifest:
        trip = next(self.trips)
        self.calls.append(what)
        await asyncio.sleep(trip.out_seconds)
        if self.refusal:
            raise self.refusal
        if trip.lost == "question":
            raise Unavailable("the question is lost")
        done = answer()
        await asyncio.sleep(trip.back_seconds)
        if trip.lost == "answer":
            raise Unavailable("the answer is lost")
        return done

    def _get(self) -> Manifest:
        if self.lease is None:
            raise NotFound("no such Lease")
        return deepcopy(self.lease)

    def _create(self, manifest: Manifest) -> Manifest:
        if self.lease is not None:
            raise Conflict("it exists")
        return self._put(manifest)

    def _replace(self, manifest: Manifest) -> Manifest:
        if self._get()["metadata"]["resourceVersion"] != manifest["metadata"]["resourceVersion"]:
            raise Conflict("it has changed")
        return self._put(manifest)

    def _put(self, manifest: Manifest) -> Manifest:
        self.lease = deepcopy(manifest)
        self.lease["metadata"]["resourceVersion"] = str(next(self.versions))
        return deepcopy(self.lease)


class Process:
    """One operator: its clock, and when it did its work."""

    def __init__(self, shelf: Shelf, name: str, offset: float = 0.0) -> None:
        self.shelf = shelf
        shelf.processes.append(self)
        loop = asyncio.get_running_loop()
        self.lease = Lease(shelf, "ns", "name", name, clock=lambda: loop.time() + offset)
        self.worked_at: list[float] = []
        self.task = asyncio.create_task(self.lease.lead(self._work))

    async def _work(self) -> None:
        while True:
            if self.lease.held():
                assert [process for process in self.shelf.processes if process.lease.held()] == [self]
                self.worked_at.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.25)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


@asynccontextmanager
async def processes(shelf: Shelf, *names: str) -> Any:  # noqa: ANN401  (an iterator of a list)
    started = [Process(shelf, name) for name in names]
    try:
        yield started
    finally:
        for process in started:
            await process.stop()


def test_one_of_two_works_and_renews_while_the_other_looks() -> None:
    async def test() -> None:
        shelf = Shelf()
        async with processes(shelf, "a", "b") as (a, b):
            await asyncio.sleep(60)
            assert a.lease.held()
            assert b.worked_at == []
            assert a.lease.joined
            assert b.lease.joined
            assert shelf.calls.count("replace") == pytest.approx(60 / RENEW_SECONDS, abs=1)
            assert shelf.calls.count("create") == 2, "both found none, and one was faster"

    in_virtual_time(test())


def test_a_process_that_is_told_to_stop_hands_over_at_once() -> None:
    async def test() -> None:
        shelf = Shelf()
        async with processes(shelf, "a", "b") as (a, b):
            await asyncio.sleep(30)
            await a.stop()
            assert shelf.holder == ""
            assert not a.lease.held()
            await asyncio.sleep(RETRY_SECONDS + 0.1)
            assert b.lease.held()
            assert min(b.worked_at) > max(a.worked_at)

    in_virtual_time(test())


def test_the_lease_of_a_process_that_died_is_taken_over_after_its_duration() -> None:
    async def test() -> None:
        shelf = Shelf(lease={"metadata": {"resourceVersion": "x"}, "spec": {"holderIdentity": "dead"}})
        async with processes(shelf, "a") as (a,):
            await asyncio.sleep(DURATION_SECONDS - 0.1)
            assert not a.lease.held()
            await asyncio.sleep(RETRY_SECONDS + 0.2)
            assert a.lease.held()

    in_virtual_time(test())


def test_a_process_that_is_told_to_stop_while_its_claim_is_on_its_way_takes_it_back() -> None:
    async def test() -> None:
        shelf = Shelf(trips=iter([Trip(), Trip(back_seconds=2), Trip(), Trip()]))
        process = Process(shelf, "a")
        await asyncio.sleep(1)
        assert shelf.holder == "a"
        await process.stop()
        assert shelf.holder == ""

    in_virtual_time(test())


def test_a_candidate_that_is_told_to_stop_leaves_the_holder_alone() -> None:
    async def test() -> None:
        shelf = Shelf()
        async with processes(shelf, "a", "b") as (_, b):
            await asyncio.sleep(10)
            await b.stop()
            assert shelf.holder == "a"

    in_virtual_time(test())


def test_cut_off_from_the_api_server_it_stops_before_another_may_begin() -> None:
    async def test() -> None:
        shelf = Shelf()
        process = Process(shelf, "a")
        await asyncio.sleep(1)
        shelf.refusal = Unavailable("no route")
        with pytest.raises(LeaseLost, match="no route"):
            await process.task
        assert max(process.worked_at) < HOLD_SECONDS
        assert HOLD_SECONDS <= asyncio.get_running_loop().time() < DURATION_SECONDS

    in_virtual_time(test())


def test_an_api_server_that_is_silent_for_a_moment_costs_nothing() -> None:
    async def test() -> None:
        trips = itertools.chain([Trip(), Trip()], [Trip(out_seconds=60)] * 2, itertools.repeat(Trip()))
        async with processes(Shelf(trips=trips), "a") as (a,):
            await asyncio.sleep(60)
            assert a.lease.held()
            assert max(y - x for x, y in itertools.pairwise(a.worked_at)) == 0.25

    in_virtual_time(test())


def test_a_renewal_whose_answer_was_lost_is_not_taken_for_another_process() -> None:
    async def test() -> None:
        trips = itertools.chain([Trip(), Trip(), Trip(lost="answer")], itertools.repeat(Trip()))
        async with processes(Shelf(trips=trips), "a") as (a,):
            await asyncio.sleep(60)
            assert a.lease.held()

    in_virtual_time(test())


def test_a_lease_that_somebody_deletes_is_made_again_by_its_holder() -> None:
    async def test() -> None:
        shelf = Shelf()
        async with processes(shelf, "a", "b") as (a, b):
            await asyncio.sleep(11)
            shelf.lease = None
            await asyncio.sleep(30)
            assert shelf.holder == "a"
            assert a.lease.held()
            assert b.worked_at == []

    in_virtual_time(test())


def test_a_holder_whose_lease_was_given_to_another_stops() -> None:
    async def test() -> None:
        shelf = Shelf()
        process = Process(shelf, "a")
        await asyncio.sleep(1)
        assert shelf.lease is not None
        shelf.lease["spec"]["holderIdentity"] = "somebody"
        shelf.lease["metadata"]["resourceVersion"] = "else"
        with pytest.raises(LeaseLost, match="somebody holds it"):
            await process.task
        assert not process.lease.held()
        assert shelf.holder == "somebody"

    in_virtual_time(test())


def test_without_the_right_to_read_it_the_process_says_so_and_is_not_ready(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        shelf = Shelf(refusal=Refused('leases "name" is forbidden'))
        async with processes(shelf, "a") as (a,):
            await asyncio.sleep(60)
            assert not a.lease.joined

    with caplog.at_level(logging.WARNING):
        in_virtual_time(test())
    assert [record.message for record in caplog.records] == ['Lease ns/name: leases "name" is forbidden']


def test_what_kills_the_work_is_raised_and_the_lease_is_released() -> None:
    async def broken() -> None:
        await asyncio.sleep(1)
        raise ZeroDivisionError

    async def test() -> None:
        shelf = Shelf()
        lease = Lease(shelf, "ns", "name", "a", clock=asyncio.get_running_loop().time)
        with pytest.raises(ZeroDivisionError):
            await lease.lead(broken)
        assert shelf.holder == ""

    in_virtual_time(test())


TRIPS = st.builds(
    Trip,
    out_seconds=st.sampled_from([0.0, 0.0, 0.5, 2.0, 30.0]),
    back_seconds=st.sampled_from([0.0, 0.0, 0.5, 2.0, 30.0]),
    lost=st.sampled_from(["", "", "", "question", "answer"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    trips=st.lists(TRIPS, min_size=1, max_size=40),
    # Whole numbers, since virtual time would not get over what rounding leaves of a wait.
    offset=st.integers(-100_000, 100_000),
    stops=st.lists(st.integers(1, 60), max_size=3),
)
def test_two_never_work_at_once_whatever_becomes_of_their_calls(
    trips: list[Trip], offset: int, stops: list[int]
) -> None:
    """Two processes, each started again when it ends; calls are late or lost, and each is told to stop now and then."""

    async def test() -> None:
        shelf = Shelf(trips=itertools.cycle(trips))

        async def live(name: str, clock_offset: int, pauses: list[int]) -> None:
            for number in itertools.count():
                process = Process(shelf, f"{name}{number}", clock_offset)
                pause = pauses[number % len(pauses)] if pauses else None
                done, _ = await asyncio.wait({process.task}, timeout=pause)
                if done and not isinstance(process.task.exception(), LeaseLost):
                    process.task.result()
                await process.stop()

        lives = [asyncio.create_task(live("a", 0, stops)), asyncio.create_task(live("b", offset, stops[::-1]))]
        done, _ = await asyncio.wait(lives, timeout=200)
        for task in lives:
            task.cancel()
        for task in done:
            task.result()  # Raises what a process saw: that another worked, too.

    in_virtual_time(test())
