"""Equal requests that wait for each other."""

import asyncio

import pytest

from gptoss_runtime.activator.detour.flights import Flights
from tests.runtime.harness import scenario


@scenario
async def test_a_request_waits_for_the_one_under_way_each_time() -> None:
    flights = Flights(wait_seconds=30)
    for _ in range(2):
        with flights.under_way(b"k"):
            waiting = asyncio.create_task(flights.wait(b"k"))
            await asyncio.sleep(0)
            assert not waiting.done()
        await waiting


@scenario
async def test_nobody_waits_for_what_is_not_under_way() -> None:
    flights = Flights(wait_seconds=30)
    with flights.under_way(b"k"):
        await flights.wait(b"other")
    await flights.wait(b"k")


@scenario
async def test_a_wait_has_an_end() -> None:
    flights = Flights(wait_seconds=0.01)
    with flights.under_way(b"k"), flights.under_way(b"k"):
        await flights.wait(b"k")


@scenario
async def test_a_failure_ends_the_wait() -> None:
    flights = Flights(wait_seconds=30)

    async def fail() -> None:
        with flights.under_way(b"k"):
            await asyncio.sleep(0)
            raise LookupError

    failing = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await flights.wait(b"k")
    with pytest.raises(LookupError):
        await failing
