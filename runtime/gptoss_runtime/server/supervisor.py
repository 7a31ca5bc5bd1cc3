"""What `gptoss-server` consists of while it runs: its ports, the loops beside each other, and vLLM's life."""

import asyncio
import logging
import os
import secrets
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from gptoss_runtime.engine_options import LoadFormat
from gptoss_runtime.model.gpus import GpuFacts
from gptoss_runtime.orders import WEIGHTS_ENV, Cloud, ServerOrders
from gptoss_runtime.server.agent import serve_agent
from gptoss_runtime.server.args import BadOrdersError, Command
from gptoss_runtime.server.beside import beside
from gptoss_runtime.server.board import Board
from gptoss_runtime.server.books import CUT_TOKEN_ENV
from gptoss_runtime.server.engine import Engine, new_session
from gptoss_runtime.server.foresight import foresee
from gptoss_runtime.server.gateways import Gateways, keep_counting
from gptoss_runtime.server.golden_prompts import make_questions
from gptoss_runtime.server.gpu_watch import GpuWatch
from gptoss_runtime.server.health import serve_health
from gptoss_runtime.server.interruption.watch import watch_notices
from gptoss_runtime.server.life import Life
from gptoss_runtime.server.process import StartError
from gptoss_runtime.server.settings import Settings
from gptoss_runtime.server.surroundings import keep_looking
from gptoss_runtime.server.traffic import follow_traffic
from gptoss_runtime.server.verdict import Ending


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)


async def run(orders: ServerOrders, plan: Callable[[Sequence[GpuFacts]], Command], settings: Settings) -> Ending:
    """Run vLLM until it ends, by itself or because we were asked to stop, and return how it did.

    The weights are fetched first, where the orders say so. Raises BadOrdersError from `plan` or when the model has
    no room on the GPUs, StartError when one of our ports is taken or a program cannot be started.
    """
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(new_session())
        token = secrets.token_hex(16)
        engine = Engine(session, settings.openai_port, cut_token=token)
        # Made-up weights hold no conversation.
        questions = () if orders.engine.load_format == LoadFormat.DUMMY else make_questions(orders)
        board = Board(orders, golden_prompts=len(questions), again_seconds=settings.again_seconds)
        life = Life(orders, settings, board, engine, questions)
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, life.ask_to_stop)
        # Blocked since the first line of the program, so that none was lost while it was being imported.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        # The ports answer before vLLM exists: a probe learns why it has to wait.
        gateways = Gateways()
        try:
            runner = await serve_health(board, engine, settings.health_port)
            stack.push_async_callback(runner.cleanup)
            agent = await serve_agent(board, gateways, settings.agent_port, warm_up_seconds=settings.warm_up_seconds)
            stack.callback(agent.close)
        except OSError as error:
            raise StartError(f"cannot serve health and agent checks: {error}; do not use hostNetwork") from error
        await stack.enter_async_context(beside(keep_counting(gateways, engine.ask_in_flight)))
        gpus = GpuWatch()
        await stack.enter_async_context(beside(keep_looking(board, engine, gpus)))
        await stack.enter_async_context(beside(follow_traffic(settings.traffic_file, life.let_in)))
        # Checked before: it is one of them.
        await stack.enter_async_context(beside(watch_notices(Cloud(orders.cloud), life.hear)))
        if orders.weights is not None:
            environment = {**os.environ, WEIGHTS_ENV: orders.weights.encode()}
            ending = await life.fetch(settings.fetch_command, environment)
            if ending is not None:
                return ending
        # In threads, since a driver or a file system may take its time, and probes are to be answered meanwhile.
        found = await asyncio.to_thread(gpus.list_gpus)
        command = await asyncio.to_thread(plan, found)
        planned = foresee(orders, command.environment, found)
        board.note_plan(planned)
        if planned is not None and planned.refusal:
            raise BadOrdersError(planned.refusal)
        log.info("Starting %s", " ".join([*settings.vllm_command, *command.arguments]))
        environment = {**command.environment, CUT_TOKEN_ENV: token}
        return await life.serve([*settings.vllm_command, *command.arguments], environment)
