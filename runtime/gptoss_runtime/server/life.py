"""The life of one replica's processes: the weights are fetched, vLLM serves, and it ends.

What to think and what to do next is decided in `watchdog`, `verdict` and `drain`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from gptoss_runtime.contract import CLOSED_SHARE, START_PHASES, Notice, Phase
from gptoss_runtime.engine_options import LoadFormat
from gptoss_runtime.orders import ServerOrders
from gptoss_runtime.server.args import READY_TIMEOUT_SECONDS
from gptoss_runtime.server.beside import beside
from gptoss_runtime.server.board import Board
from gptoss_runtime.server.cause import find_cause
from gptoss_runtime.server.deep import gpu_fault
from gptoss_runtime.server.drain import DrainLimits, DrainStep
from gptoss_runtime.server.engine import Engine
from gptoss_runtime.server.golden_prompts import Question
from gptoss_runtime.server.golden_watch import keep_asking
from gptoss_runtime.server.leave import Leaving
from gptoss_runtime.server.look import Watcher
from gptoss_runtime.server.phases import phase_of_line
from gptoss_runtime.server.probe import Prober
from gptoss_runtime.server.process import Process
from gptoss_runtime.server.settings import Settings
from gptoss_runtime.server.verdict import Ending, Seen, judge, leaving_words
from gptoss_runtime.server.watchdog import Answer


ACT_EVERY_SECONDS = 0.25
"""Between two decisions, when nothing calls for one."""
PROGRESS_EVERY_SECONDS = 30.0
START_LIMIT_SECONDS = READY_TIMEOUT_SECONDS + 600.0
"""vLLM gives up by itself before; this is for one that hangs."""
FETCH_QUIET_SECONDS = 600.0
"""The program that fetches says every 10 s how far it is; this is for one that hangs."""

log = logging.getLogger(__name__)


class Life:
    """Starts the processes, judges them, lets them drain, and ends them."""

    def __init__(
        self,
        orders: ServerOrders,
        settings: Settings,
        board: Board,
        engine: Engine,
        questions: Sequence[Question] = (),
    ) -> None:
        self._orders = orders
        self._questions = questions
        self._board = board
        self._engine = engine
        self._leaving = Leaving(
            DrainLimits(
                endpoint_grace_seconds=orders.endpoint_grace_seconds,
                drain_seconds=orders.drain_seconds,
                kill_after_seconds=settings.kill_after_seconds,
            )
        )
        self._wake = asyncio.Event()
        self._told_at = time.monotonic()
        self._killed_for = ""

    def ask_to_stop(self) -> None:
        """Begin to drain, and end then."""
        self._leaving.ask()
        # At once, so that the very next health or agent check hears it.
        self._judge(running=True)
        self._wake.set()

    def hear(self, notice: Notice | None) -> None:
        """Take note of what the cloud announces."""
        self._leaving.hear(notice)
        self._wake.set()

    def let_in(self, share: int) -> None:
        """Take note of the share of requests that the replica is to get, in percent; zero for none."""
        if share != self._board.share:
            log.info("The replica gets %d%% of a full share of the requests", share)
            self._board.note_share(share)
            self._wake.set()

    async def fetch(self, command: Sequence[str], environment: Mapping[str, str]) -> Ending | None:
        """Fetch the weights; return how the server ends, None when it goes on."""
        self._board.start.enter(Phase.FETCHING, time.monotonic())
        log.info("Fetching the weights: %s", " ".join(command))
        process = Process.start(command, environment, on_line=_ignore)
        stopped = await self._until_end(
            process,
            is_late=lambda: process.quiet_seconds > FETCH_QUIET_SECONDS,
            late=f"the program that fetches them said nothing for {FETCH_QUIET_SECONDS:.0f} s",
        )
        status = process.exit_status or 0
        lines = await asyncio.to_thread(process.tail)
        if status == 0 and not stopped:
            return None
        cause = process.last_error() or next((line for line in reversed(lines) if line.strip()), "")
        return self._ending(status, cause, stopped=stopped, fetching=True)

    async def serve(self, command: Sequence[str], environment: Mapping[str, str]) -> Ending:
        """Run vLLM until it ends, and return how it did."""
        loop, started_at = asyncio.get_running_loop(), time.monotonic()

        def read(line: str) -> None:
            # In a thread, and after the loop's end as well.
            if phase := phase_of_line(line):
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._enter, phase)

        process = Process.start(command, environment, on_line=read)
        made_up = self._orders.engine.load_format == LoadFormat.DUMMY
        prober = Prober(self._engine, self._orders.served_names[0], chats=not made_up)
        watcher = Watcher(self._board, self._engine, prober, pid=process.pid, wake=self._wake.set)
        golden = keep_asking(self._board, self._engine, self._questions)
        async with beside(watcher.run()), beside(golden):
            stopped = await self._until_end(
                process,
                is_late=lambda: not self._board.was_ready and time.monotonic() - started_at > START_LIMIT_SECONDS,
                late=f"not ready after {START_LIMIT_SECONDS:.0f} s",
            )
        self._judge(running=False)
        lines = await asyncio.to_thread(process.tail)
        cause = find_cause(lines, serving=self._board.was_ready)
        if self._killed_for and cause and self._board.watch.answer is Answer.DOWN:
            # Its engine had died before, and vLLM has said of what.
            self._killed_for = f"{self._killed_for}: {cause}"
        return self._ending(process.exit_status or 0, cause, stopped=stopped)

    async def _until_end(self, process: Process, *, is_late: Callable[[], bool], late: str) -> bool:
        """Decide and act until the process has ended. One that `is_late` is killed, for the reason `late`.

        Returns whether it ended because we were asked to stop; a failure is none because of a request after it.
        """
        process.exited.add_done_callback(lambda _: self._wake.set())
        try:
            while process.exit_status is None:
                self._wake.clear()
                self._judge(running=True)
                if is_late() and not self._leaving.asked:
                    self._kill(process, f"{late}: {fault}" if (fault := self._board.start_fault) else late)
                elif not self._board.judgement.verdict.live:
                    self._kill(process, self._board.judgement.verdict.reason)
                else:
                    await self._drain(process)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), ACT_EVERY_SECONDS)
        finally:
            # Workers that outlived their parent hold the GPU, and the pipes that the tail is read from.
            process.kill_group()
        return self._leaving.asked and not self._killed_for

    def _enter(self, phase: Phase) -> None:
        if self._board.start.enter(phase, time.monotonic()):
            self._wake.set()

    def _judge(self, *, running: bool) -> None:
        board, leaving = self._board, self._leaving.is_time()
        board.notice = self._leaving.notice
        judgement = judge(
            Seen(
                running=running,
                start_phase=board.start.phase,
                start_fault=board.start_fault,
                was_ready=board.was_ready,
                leaving=leaving_words(asked=self._leaving.asked, notice=board.notice) if leaving else "",
                finding=board.finding(),
                gpu_fault=gpu_fault(board.gpus),
                closed=board.share == CLOSED_SHARE,
            )
        )
        before, board.judgement = board.judgement, judgement
        if judgement != before:
            log.info("%s: %s", judgement.phase, judgement.verdict.reason)
        elif judgement.phase in START_PHASES and time.monotonic() - self._told_at >= PROGRESS_EVERY_SECONDS:
            self._told_at = time.monotonic()
            log.info("Not ready yet after %.0f s: %s", board.uptime_seconds, judgement.verdict.reason)

    async def _drain(self, process: Process) -> None:
        board = self._board
        decision = self._leaving.next_step(
            was_ready=board.was_ready, in_flight=board.in_flight, looked_at=board.looked_at
        )
        if decision is None:
            return
        match decision.step:
            case DrainStep.WAIT:
                log.debug("Waiting: %s", decision.reason)
            case DrainStep.CUT:
                log.warning("Cutting requests off: %s", decision.reason)
                log.info("Cut off: %s", await self._engine.cut() or "vLLM did not answer")
                self._leaving.note_cut()
                # Without waiting for the next tick.
                self._wake.set()
            case DrainStep.LIFT:
                log.info("Letting requests in again: %s", decision.reason)
                if await self._engine.lift_cut():
                    self._leaving.note_lifted()
                elif restart := board.finding().restart:
                    # It will never hear of it; a replica that leaves is not started again otherwise.
                    self._kill(process, restart)
            case DrainStep.TERMINATE:
                log.info("Ending vLLM: %s", decision.reason)
                self._leaving.note_terminated()
                process.terminate()
            case DrainStep.KILL:
                log.warning("Killing vLLM: %s", decision.reason)
                process.kill_group()

    def _kill(self, process: Process, reason: str) -> None:
        if not self._killed_for:
            log.error("Killing %d: %s", process.pid, reason)
        self._killed_for = self._killed_for or reason
        process.kill_group()

    def _ending(self, exit_status: int, cause: str, *, stopped: bool, fetching: bool = False) -> Ending:
        return Ending(
            exit_status=exit_status,
            asked=stopped,
            was_ready=self._board.was_ready,
            fetching=fetching,
            killed_for=self._killed_for,
            cause=cause,
        )


def _ignore(_: str) -> None:
    """Take no note of a line of output."""
