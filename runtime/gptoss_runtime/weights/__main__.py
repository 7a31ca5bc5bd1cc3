"""`gptoss-fetch`: fetches the weights that `GPTOSS_WEIGHTS` orders. Takes no arguments."""

import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from gptoss_runtime.contract import TERMINATION_LOG, TERMINATION_LOG_ENV, ContractError, ExitCode
from gptoss_runtime.orders import WEIGHTS_ENV, WeightsOrder
from gptoss_runtime.weights.errors import BadOrderError, FetchError
from gptoss_runtime.weights.fetch import fetch, is_complete
from gptoss_runtime.weights.patience import Patience
from gptoss_runtime.weights.room import explained
from gptoss_runtime.weights.sources import open_source


FAILED = 1
"""Exit status when the weights could not be fetched; another run may succeed."""

log = logging.getLogger("gptoss_runtime.weights")


def main() -> None:
    """Fetch and exit: 0 when all is there, `ExitCode.BAD_ORDERS`, or `FAILED`; the last line says why."""
    # PID 1 has no default action for them.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s gptoss-fetch %(message)s")
    for library in ("httpx2", "huggingface_hub", "filelock"):
        logging.getLogger(library).setLevel(logging.ERROR)
    # The server's image forbids its libraries the way out; this program is for going there.
    os.environ.pop("HF_HUB_OFFLINE", None)
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    status = run(os.environ)
    logging.shutdown()
    if status != ExitCode.OK:
        # Threads may still wait for a server that says nothing, and Python would wait for them.
        os._exit(status)


def run(environment: Mapping[str, str]) -> int:
    """Return the exit status after the order in `environment` has been carried out, or has failed."""
    directory = Path()
    try:
        order = _read_order(environment)
        directory = Path(order.directory)
        if is_complete(directory, order):
            log.info("%s is already here, in %s", order.source, directory)
            return ExitCode.OK
        fetch(order, open_source(order, environment), Patience())
    except (ContractError, BadOrderError) as error:
        return _failed(error, ExitCode.BAD_ORDERS, environment)
    except OSError as error:
        return _failed(explained(error, directory), FAILED, environment)
    except FetchError as error:
        return _failed(error, FAILED, environment)
    return ExitCode.OK


def _read_order(environment: Mapping[str, str]) -> WeightsOrder:
    text = environment.get(WEIGHTS_ENV, "")
    if not text:
        raise BadOrderError(f"no orders: set {WEIGHTS_ENV} to a weights order, as the operator does")
    order = WeightsOrder.decode(text)
    if not Path(order.directory).is_absolute():
        raise BadOrderError(f"directory {order.directory!r} is not absolute")
    return order


def _failed(error: Exception, status: int, environment: Mapping[str, str]) -> int:
    """Say why in one line, the last one, and where Kubernetes reads it."""
    reason = " ".join(str(error).split())
    print(reason, file=sys.stderr, flush=True)  # noqa: T201
    path = Path(environment.get(TERMINATION_LOG_ENV, TERMINATION_LOG))
    if path.exists() or TERMINATION_LOG_ENV in environment:
        try:
            path.write_text(f"{reason}\n", encoding="utf-8")
        except OSError as problem:
            log.debug("Cannot write the termination message to %s: %s", path, problem.strerror)
    return status


def _stop(number: int, _: FrameType | None) -> None:
    # At once and with nothing tidied: what is on the disk is what the next run goes on with.
    os.write(sys.stderr.fileno(), b"stopped; the next run goes on where this one stopped\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
