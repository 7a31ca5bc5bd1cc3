"""The loop that watches vLLM, keeps the board, drains, and returns how it ended.

What to think and what to do next is decided in `verdict` and `drain`.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress

from gptoss_runtime.contract import Phase
from gptoss_runtime.orders import ServerOrders
from gptoss_runtime.server.agent import serve_agent
from gptoss_runtime.server.args import READY_TIMEOUT_SECONDS, Command
from gptoss_runtime.server.board import Board
from gptoss_runtime.server.cause import find_cause
from gptoss_runtime.server.drain import DrainLimits, DrainSeen, DrainStep, next_step
from gptoss_runtime.server.engine import Engine, new_session
from gptoss_runtime.server.gateways import Gateways, keep_counting
from gptoss_runtime.server.health import serve_health
from gptoss_runtime.server.process import Process
from gptoss_runtime.server.settings import Settings
from gptoss_runtime.server.telemetry import Numbers, in_flight, numbers_of
from gptoss_runtime.server.verdict import Answer, Ending, Seen, judge


LOOK_EVERY_SECONDS = 0.5
SAMPLE_EVERY_SECONDS = 2.0
"""Between two reads of vLLM's metrics, which cost it some milliseconds each."""
PROGRESS_EVERY_SECONDS = 30.0
START_LIMIT_SECONDS = READY_TIMEOUT_SECONDS + 600.0
"""vLLM gives up by itself before; this is for one that hangs."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)


async def run(orders: ServerOrders, plan: Callable[[], Command], settings: Settings) -> Ending:
    """Run vLLM until it ends, by itself or because we were asked to stop, and return how it did.

    Raises BadOrdersError from `plan`, StartError when vLLM cannot be started, OSError when one of our ports is taken.
    """
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(new_session())
        engine = Engine(session, settings.openai_port)
        board = Board(max_num_seqs=orders.max_num_seqs)
        supervisor = Supervisor(orders, settings, board, engine)
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, supervisor.ask_to_stop)
        # Blocked since the first line of the program, so that none was lost while it was being imported.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        # The ports answer before vLLM exists: a probe learns why it has to wait.
        runner = await serve_health(board, engine, settings.health_port)
        stack.push_async_callback(runner.cleanup)
        gateways = Gateways()
        agent = await serve_agent(board, gateways, settings.agent_port, warm_up_seconds=settings.warm_up_seconds)
        stack.callback(agent.close)
        counting = asyncio.create_task(keep_counting(gateways, engine.ask_in_flight))
        stack.callback(counting.cancel)
        command = plan()
        process = Process.start([*settings.vllm_command, *command.arguments], command.environment)
        stack.callback(process.kill_group)
        return await supervisor.watch(process)


class Supervisor:
    """Watches one vLLM."""

    def __init__(self, orders: ServerOrders, settings: Settings, board: Board, engine: Engine) -> None:
        self._board = board
        self._engine = engine
        self._limits = DrainLimits(
            endpoint_grace_seconds=orders.endpoint_grace_seconds,
            drain_seconds=orders.drain_seconds,
            kill_after_seconds=settings.kill_after_seconds,
        )
        self._wake = asyncio.Event()
        self._answer = Answer.DOWN
        self._silences = 0
        self._asked_at: float | None = None
        self._terminated_at: float | None = None
        self._sampled_at = float("-inf")
        self._told_at = time.monotonic()
        self._overdue = False

    def ask_to_stop(self) -> None:
        """Begin to drain. Asking again changes nothing: the time that requests were promised stays."""
        if self._asked_at is not None:
            log.info("Asked to stop again; already draining")
            return
        self._asked_at = time.monotonic()
        limits = self._limits
        seconds = limits.endpoint_grace_seconds + limits.drain_seconds
        log.info("Asked to stop: requests may go on for %.0f s", seconds)
        # At once, so that the very next health or agent check hears it.
        self._judge(running=True)
        self._wake.set()

    async def watch(self, process: Process) -> Ending:
        """Return how vLLM ended."""
        process.exited.add_done_callback(lambda _: self._wake.set())
        while process.exit_status is None:
            self._wake.clear()
            await self._look(process)
            self._judge(running=process.exit_status is None)
            self._act(process)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_EVERY_SECONDS)
        self._judge(running=False)
        # Workers that outlived their parent hold the GPU, and the pipes that the tail is read from.
        process.kill_group()
        lines = await asyncio.to_thread(process.tail)
        was_ready = self._board.load_seconds is not None
        cause = find_cause(lines, serving=was_ready)
        if self._asked_at is not None and self._terminated_at is None:
            log.warning("vLLM ended by itself during the drain. %s", cause)
        return Ending(
            exit_status=process.exit_status,
            asked=self._asked_at is not None,
            was_ready=was_ready,
            cause=f"not ready after {START_LIMIT_SECONDS:.0f} s" if self._overdue else cause,
        )

    async def _look(self, process: Process) -> None:
        """Ask vLLM how it is, unless it ends meanwhile."""
        look = asyncio.ensure_future(self._ask())
        either: list[asyncio.Future[None] | asyncio.Future[int]] = [look, process.exited]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if look.done():
            look.result()
        else:
            look.cancel()

    async def _ask(self) -> None:
        self._answer = await self._engine.ask_health()
        self._silences = self._silences + 1 if self._answer is Answer.SILENT else 0
        if self._answer is Answer.UP and self._board.load_seconds is None:
            self._board.load_seconds = self._board.uptime_seconds
            log.info("vLLM is up after %.1f s", self._board.load_seconds)
        if self._answer is not Answer.UP:
            # It would not answer further questions either, and old numbers must not be shown as new ones.
            self._board.numbers, self._board.in_flight = Numbers(), None
            return
        now = time.monotonic()
        if now - self._sampled_at >= SAMPLE_EVERY_SECONDS or self._asked_at is not None:
            self._sampled_at = now
            text = await self._engine.read_metrics()
            self._board.numbers = numbers_of(text or "")
        self._board.in_flight = in_flight(await self._engine.ask_load(), self._board.numbers)

    def _judge(self, *, running: bool) -> None:
        judgement = judge(
            Seen(
                running=running,
                was_ready=self._board.load_seconds is not None,
                draining=self._asked_at is not None,
                answer=self._answer,
                silences=self._silences,
            )
        )
        before, self._board.judgement = self._board.judgement, judgement
        if judgement != before:
            log.info("%s: %s", judgement.phase, judgement.verdict.reason)
        elif judgement.phase is Phase.LOADING and time.monotonic() - self._told_at >= PROGRESS_EVERY_SECONDS:
            self._told_at = time.monotonic()
            log.info("vLLM has been loading for %.0f s", self._board.uptime_seconds)

    def _act(self, process: Process) -> None:
        if process.exit_status is not None:
            return
        if self._asked_at is None:
            if self._board.load_seconds is None and self._board.uptime_seconds > START_LIMIT_SECONDS:
                self._overdue = True
                process.kill_group()
            return
        now = time.monotonic()
        decision = next_step(
            self._limits,
            DrainSeen(
                elapsed_seconds=now - self._asked_at,
                was_ready=self._board.load_seconds is not None,
                in_flight=self._board.in_flight,
                since_terminate_seconds=None if self._terminated_at is None else now - self._terminated_at,
            ),
        )
        match decision.step:
            case DrainStep.WAIT:
                log.debug("Waiting: %s", decision.reason)
            case DrainStep.TERMINATE:
                log.info("Ending vLLM: %s", decision.reason)
                self._terminated_at = now
                process.terminate()
            case DrainStep.KILL:
                log.warning("Killing vLLM: %s", decision.reason)
                process.kill_group()
