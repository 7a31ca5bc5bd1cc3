"""`gptoss-server`: PID 1 of a replica's pod. Takes no arguments; its orders are in the environment."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gptoss_runtime.contract import TERMINATION_LOG, TERMINATION_LOG_ENV, ContractError, ExitCode
from gptoss_runtime.model.gpus import GpuFacts
from gptoss_runtime.orders import ServerOrders
from gptoss_runtime.server.args import BadOrdersError, Command, check_orders, plan_command
from gptoss_runtime.server.process import StartError
from gptoss_runtime.server.settings import Settings, read_facts, read_orders, read_settings
from gptoss_runtime.server.verdict import exit_code, termination_message


Plan = Callable[[Sequence[GpuFacts]], Command]

log = logging.getLogger("gptoss_runtime.server")


def main() -> None:
    """Run the server and exit with one of `ExitCode`."""
    # A signal during the imports must not be lost: PID 1 has no default action for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s gptoss-server %(message)s")
    sys.exit(serve(os.environ))


def serve(environment: Mapping[str, str]) -> int:
    """Return the exit status after vLLM has run for the orders in `environment`."""
    termination_log = Path(environment.get(TERMINATION_LOG_ENV, TERMINATION_LOG))
    try:
        settings = read_settings(environment)
        orders = read_orders(environment)
        # Before weights are fetched, which takes long.
        check_orders(orders, read_facts(orders, settings, environment))
    except (ContractError, BadOrdersError) as error:
        _leave_message(termination_log, str(error))
        return ExitCode.BAD_ORDERS

    def plan(gpus: Sequence[GpuFacts]) -> Command:
        """Return vLLM's command, as the pod is now. Raises BadOrdersError. May wait for a file system."""
        command = plan_command(orders, read_facts(orders, settings, environment, gpus))
        for note in command.notes:
            log.info("%s", note)
        return command

    return _run(orders, plan, settings)


def _run(orders: ServerOrders, plan: Plan, settings: Settings) -> int:
    # Only now: bad orders are told in a tenth of a second, without loading an HTTP library.
    import asyncio  # noqa: PLC0415

    from gptoss_runtime.server.supervisor import run  # noqa: PLC0415

    try:
        ending = asyncio.run(run(orders, plan, settings))
    except BadOrdersError as error:
        _leave_message(settings.termination_log, str(error))
        return ExitCode.BAD_ORDERS
    except (StartError, OSError) as error:
        _leave_message(settings.termination_log, str(error))
        return ExitCode.START_FAILED
    message = termination_message(ending)
    if message:
        _leave_message(settings.termination_log, message)
    return exit_code(ending)


def _leave_message(path: Path, message: str) -> None:
    """Log why the server ends, and write it where Kubernetes reads it."""
    log.error("%s", message)
    try:
        path.write_text(message + "\n", encoding="utf-8")
    except OSError as error:
        log.warning("Cannot write the termination message to %s: %s", path, error.strerror)


if __name__ == "__main__":
    main()
