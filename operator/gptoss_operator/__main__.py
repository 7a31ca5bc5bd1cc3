"""Runs the operator: `python -m gptoss_operator` or `gptoss-operator`."""

import asyncio
import logging
import sys

from gptoss_operator.errors import GptOssError, LeaseLost, SettingsError
from gptoss_operator.shell import logs, settings
from gptoss_operator.shell.operate import operate


EXIT_FAILED = 1
EXIT_USAGE = 2


def main() -> int:
    """Run until SIGTERM. Returns the exit status: 0, 1 if a part died or the Lease is lost, 2 if a setting is wrong."""
    try:
        chosen = settings.parse(sys.argv[1:])
    except SettingsError as error:
        sys.stderr.write(f"gptoss-operator: {error}\n")
        return EXIT_USAGE
    logs.set_up(chosen)
    try:
        asyncio.run(operate(chosen))
    except SettingsError as error:
        logging.error("%s", error)  # noqa: LOG015, TRY400  (before any part has a logger; the reader needs no traceback)
        return EXIT_USAGE
    except LeaseLost as error:
        logging.warning("%s", error)  # noqa: LOG015  (as above; nothing is broken)
        return EXIT_FAILED
    except GptOssError:
        logging.exception("The operator cannot go on")  # noqa: LOG015  (as above)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
