"""Looks at vLLM again and again, probes it while it is idle, and writes what it found on the board."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from gptoss_runtime.contract import CLOSED_SHARE, OPEN_SHARE, Counter, Gauge, Phase
from gptoss_runtime.server.board import Board
from gptoss_runtime.server.engine import Engine
from gptoss_runtime.server.machine import read_cpu_seconds
from gptoss_runtime.server.planned import compare
from gptoss_runtime.server.probe import Prober
from gptoss_runtime.server.telemetry import Numbers, in_flight, numbers_of
from gptoss_runtime.server.watchdog import (
    RETRY_SECONDS,
    Answer,
    Outcome,
    Probed,
    Work,
    after_health,
    after_numbers,
    after_probe,
    canary_probe_due,
    probe_due,
)


LOOK_EVERY_SECONDS = 0.5
SAMPLE_EVERY_SECONDS = 2.0
"""Between two reads of all metrics, where vLLM does not offer the few alone. They cost it some milliseconds each."""
_SIGNATURE = (
    *(Counter.ENGINE_STEPS, Counter.PROMPT_TOKENS, Counter.GENERATION_TOKENS, Counter.PREEMPTIONS),
    # A step of a long prompt has no tokens of its own, and vLLM 0.32 does not count it; but it fills the cache.
    *(Gauge.REQUESTS_RUNNING, Gauge.REQUESTS_WAITING, Gauge.KV_CACHE_USAGE),
)

log = logging.getLogger(__name__)


class Watcher:
    """Looks at one vLLM. `pid` is its first process, `wake` is called after each look."""

    def __init__(self, board: Board, engine: Engine, prober: Prober, *, pid: int, wake: Callable[[], None]) -> None:
        self._board = board
        self._engine = engine
        self._prober = prober
        self._pid = pid
        self._wake = wake
        self._alone = True
        """Whether vLLM offers the few metrics alone."""
        self._sampled_at = float("-inf")
        self._first: asyncio.Task[None] | None = None
        self._probe: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                await self._look()
                self._ask_model()
                self._wake()
                await asyncio.sleep(LOOK_EVERY_SECONDS)
        finally:
            for task in (self._first, self._probe):
                if task is not None:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task

    async def _look(self) -> None:
        board, began_at, own = self._board, time.monotonic(), self._engine.own_requests
        answer, requests, numbers = await asyncio.gather(
            self._engine.ask_health(), self._engine.ask_requests(), self._numbers(began_at)
        )
        cpu_seconds = read_cpu_seconds(self._pid)
        now, own = time.monotonic(), min(own, self._engine.own_requests)
        held = None if requests is None else sum(requests.in_flight.values())
        board.answers = None if requests is None else requests.answers
        if numbers is not None:
            board.numbers = numbers
            board.watch = after_numbers(board.watch, _work(numbers), held=held, at=now)
        board.watch = after_health(board.watch, answer, at=now, cpu_seconds=cpu_seconds)
        if answer is not Answer.UP:
            # Old numbers must not be shown as new ones.
            board.numbers = Numbers()
        board.in_flight = in_flight(held, board.numbers, own) if answer is Answer.UP else None
        board.looked_at = began_at

    async def _numbers(self, now: float) -> Numbers | None:
        """Return what vLLM says, which is nothing when it does not answer; None when it was not asked."""
        if self._alone:
            text, self._alone = await self._engine.read_numbers()
        elif now - self._sampled_at >= SAMPLE_EVERY_SECONDS:
            self._sampled_at = now
            text = await self._engine.read_metrics()
        else:
            return None
        return numbers_of(text or "")

    def _ask_model(self) -> None:
        board = self._board
        if board.judgement.phase is Phase.DRAINING or board.watch.answer is not Answer.UP:
            return
        if not board.was_ready:
            board.start.enter(Phase.WARMING, time.monotonic())
            if self._first is None or self._first.done():
                self._first = asyncio.create_task(self._ask_first())
            return
        if self._probe is not None and not self._probe.done():
            return
        held = board.in_flight
        now, watched = time.monotonic(), CLOSED_SHARE < board.share < OPEN_SHARE
        if probe_due(board.watch, board.limits, held=held, at=now):
            self._probe = asyncio.create_task(self._ask_again(alone=not held))
        elif watched and canary_probe_due(board.watch, every_seconds=board.again_seconds, at=now):
            self._probe = asyncio.create_task(self._ask_again(alone=not held, busy=bool(held)))

    async def _ask_first(self) -> None:
        board = self._board
        fault = await self._prober.first()
        if not fault:
            # Otherwise the deep report would not know for a while.
            board.models = await self._engine.ask_models()
            board.note_ready()
            log.info("vLLM is ready after %.1f s", board.uptime_seconds)
            kv_tokens = board.numbers.gauges.get(Gauge.KV_TOKENS)
            if board.planned is not None and kv_tokens is not None:
                log.info("Compared with the plan, %s", compare(board.planned, int(kv_tokens)).reason)
        else:
            if fault != board.start_fault:
                log.warning("The first answers are not good: %s", fault)
            board.start_fault = fault
            await asyncio.sleep(RETRY_SECONDS)
        self._wake()

    async def _ask_again(self, *, alone: bool, busy: bool = False) -> None:
        """Probe. `busy`: others were being answered when it began, and it may have to wait for them."""
        board = self._board
        probed = await self._prober.again()
        # What the last look saw, while the probe's own request was still known to be ours.
        probed = replace(probed, disturbed=busy or (alone and bool(board.in_flight)))
        before, board.watch = board.watch, after_probe(board.watch, probed)
        if probed.outcome is Outcome.RIGHT:
            board.probe_seconds = probed.ended_at - probed.started_at
        else:
            _tell(probed)
        if before.wrong and not board.watch.wrong:
            log.info("The probe's answer is again what it was at the start")
        self._wake()


def _work(numbers: Numbers) -> Work | None:
    """Return what the engine says of its work; None when it says nothing."""
    values = {**numbers.counters, **numbers.gauges}
    running, waiting = (values.get(name) for name in (Gauge.REQUESTS_RUNNING, Gauge.REQUESTS_WAITING))
    if running is None or waiting is None:
        return None
    signature = tuple(values.get(name) for name in _SIGNATURE)
    return Work(requests=int(running + waiting), running=int(running), signature=signature)


def _tell(probed: Probed) -> None:
    log.warning(
        "A probe of the engine, %.1f s: %s%s%s",
        probed.ended_at - probed.started_at,
        probed.outcome,
        ", others came meanwhile" if probed.disturbed else "",
        f", {probed.reason}" if probed.reason else "",
    )
