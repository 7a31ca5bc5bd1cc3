import asyncio
import itertools
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptoss_operator.errors import LeaseLost, Refused, Unavailable
from gptoss_operator.shell.claim import DURATION_SECONDS, HOLD_SECONDS
from gptoss_operator.shell.lease import RENEW_SECONDS, RETRY_SECONDS, Lease
from tests.shell.builders import in_virtual_time
from tests.shell.one_lease import Process, Shelf, Trip, processes


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
