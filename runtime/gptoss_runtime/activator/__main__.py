"""`gptoss-activator [ORDERS_FILE]`: the sidecar of a gateway pod."""

import signal


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

if __name__ == "__main__":
    # Before all other imports: PID 1 has no default action for a signal, and one that comes too early would be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)

import asyncio  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from pathlib import Path  # noqa: E402

from gptoss_runtime.activator.settings import ORDERS_FILE, read_orders, read_settings  # noqa: E402
from gptoss_runtime.contract import ContractError, ExitCode  # noqa: E402


log = logging.getLogger("gptoss_runtime.activator")


def main() -> None:
    """Run the activator and exit with 0 when it was asked to stop, 64 when its orders cannot be carried out."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s gptoss-activator %(message)s")
    sys.exit(serve(sys.argv[1:]))


def serve(arguments: Sequence[str]) -> int:
    """Return the exit status after the activator has run."""
    path = Path(arguments[0]) if arguments else ORDERS_FILE
    try:
        settings = read_settings(os.environ)
        orders = read_orders(path)
    except ContractError as error:
        log.error("%s", error)  # noqa: TRY400 - the message says it all
        return ExitCode.BAD_ORDERS
    from gptoss_runtime.activator.app import run  # noqa: PLC0415 - takes a second, in which signals are blocked

    asyncio.run(run(orders, settings))
    return ExitCode.OK


if __name__ == "__main__":
    main()
