import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable

import pytest

from gptoss_operator.errors import Unavailable
from gptoss_operator.shell.queue import WorkQueue
from gptoss_operator.shell.store import Key
from tests.shell.builders import in_virtual_time


A, B = Key("demo", "a"), Key("demo", "b")


class Passes:
    """Work that records when it began, takes a while, and answers what it is told to."""

    def __init__(self, takes: float = 1.0, *answers: float | Exception | None) -> None:
        self.began: list[tuple[Key, float]] = []
        self.most_at_once = 0
        self._running = 0
        self._takes = takes
        self._answers = list(answers)

    async def __call__(self, key: Key) -> float | None:
        self.began.append((key, round(asyncio.get_running_loop().time(), 3)))
        self._running += 1
        self.most_at_once = max(self._running, self.most_at_once)
        await asyncio.sleep(self._takes)
        self._running -= 1
        answer = self._answers.pop(0) if self._answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer


def run_for(seconds: float, queue: WorkQueue, script: Callable[[], Awaitable[None]]) -> None:
    async def test() -> None:
        running = asyncio.create_task(queue.run())
        start = asyncio.get_running_loop().time()
        await script()
        await asyncio.sleep(seconds - (asyncio.get_running_loop().time() - start))
        assert not running.done()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    in_virtual_time(test())


def test_many_reasons_make_one_pass() -> None:
    passes = Passes()
    queue = WorkQueue(passes)

    async def script() -> None:
        for _ in range(5):
            queue.add(A)
        assert len(queue) == 1

    run_for(10, queue, script)
    assert passes.began == [(A, 0.0)]


def test_a_change_during_a_pass_makes_exactly_one_more_when_it_ends() -> None:
    passes = Passes(2.0)
    queue = WorkQueue(passes)

    async def script() -> None:
        queue.add(A)
        await asyncio.sleep(1)
        queue.add(A)
        queue.add(A)

    run_for(10, queue, script)
    assert passes.began == [(A, 0.0), (A, 2.0)]


def test_several_objects_at_once_but_never_one_object_twice() -> None:
    passes = Passes(1.0)
    queue = WorkQueue(passes, workers=2)

    async def script() -> None:
        for key in (A, B, Key("demo", "c")):
            queue.add(key)

    run_for(5, queue, script)
    assert passes.most_at_once == 2
    assert passes.began == [(A, 0.0), (B, 0.0), (Key("demo", "c"), 1.0)]


def test_a_pass_is_made_again_when_it_asks_for_it_or_sooner_when_something_changes() -> None:
    passes = Passes(1.0, 5.0, 5.0)
    queue = WorkQueue(passes)

    async def script() -> None:
        queue.add(A)
        await asyncio.sleep(8)
        queue.add(A)

    run_for(30, queue, script)
    # The first ends at 1 and asks for 6; the second ends at 7 and asks for 12, but a change at 8 comes before.
    assert [at for _, at in passes.began] == [0.0, 6.0, 8.0]


def test_passes_that_never_wait_let_others_run_meanwhile() -> None:
    began: list[Key] = []

    async def work(key: Key) -> None:
        began.append(key)

    queue = WorkQueue(work, workers=2)
    between: list[int] = []

    async def script() -> None:
        for number in range(100):
            queue.add(Key("demo", str(number)))
        while len(began) < 100:
            between.append(len(began))
            await asyncio.sleep(0)
        between.append(len(began))

    run_for(1, queue, script)
    assert max(later - earlier for earlier, later in itertools.pairwise(between)) <= 2, "one for each worker"


def test_an_earlier_date_stays_when_a_later_one_is_asked_for() -> None:
    passes = Passes()
    queue = WorkQueue(passes)

    async def script() -> None:
        queue.add_after(A, 3)
        queue.add_after(A, 7)

    run_for(30, queue, script)
    assert passes.began == [(A, 3.0)]


def test_failures_are_repeated_with_growing_pauses_and_events_do_not_shorten_them() -> None:
    passes = Passes(0.0, *[Unavailable("no answer") for _ in range(8)])
    queue = WorkQueue(passes, backoff_seconds=(1.0, 8.0))

    async def script() -> None:
        queue.add(A)
        for _ in range(100):
            await asyncio.sleep(0.5)
            queue.add(A)

    run_for(200, queue, script)
    times = [at for _, at in passes.began]
    gaps = [b - a for a, b in itertools.pairwise(times)][:8]
    for gap, longest in zip(gaps, (1, 2, 4, 8, 8, 8, 8, 8), strict=True):
        assert longest / 2 <= gap <= longest + 0.01


def test_the_server_decides_when_to_come_back_if_it_says_so() -> None:
    passes = Passes(0.0, Unavailable("busy", retry_after_seconds=60))
    queue = WorkQueue(passes, backoff_seconds=(1.0, 8.0))

    async def script() -> None:
        queue.add(A)
        await asyncio.sleep(10)
        queue.add(A)

    run_for(120, queue, script)
    assert passes.began == [(A, 0.0), (A, 60.0)]


def test_a_defect_met_by_one_object_is_logged_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    passes = Passes(0.0, ValueError("a defect"))
    queue = WorkQueue(passes, workers=1, backoff_seconds=(1.0, 1.0))

    async def script() -> None:
        queue.add(A)
        queue.add(B)

    with caplog.at_level(logging.ERROR):
        run_for(10, queue, script)
    assert [key for key, _ in passes.began] == [A, B, A]
    assert "a defect" in caplog.text


def test_a_forgotten_object_is_not_looked_at_again() -> None:
    passes = Passes(0.0, 5.0)
    queue = WorkQueue(passes)

    async def script() -> None:
        queue.add(A)
        await asyncio.sleep(1)
        queue.forget(A)

    run_for(30, queue, script)
    assert passes.began == [(A, 0.0)]


def test_every_object_gets_a_pass_at_each_resync() -> None:
    passes = Passes(0.0)
    queue = WorkQueue(passes)

    async def script() -> None:
        resync = asyncio.create_task(queue.resync(lambda: [A, B], 300))
        await asyncio.sleep(650)
        resync.cancel()

    run_for(700, queue, script)
    assert passes.began == [(A, 300.0), (B, 300.0), (A, 600.0), (B, 600.0)]
