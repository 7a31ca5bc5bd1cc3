"""The few of vLLM's metrics that its supervisor reads, out of vLLM's own process.

All of them are 60 KB of text, which vLLM makes in its event loop, where answers are made too. These are some 2 KB.
`prometheus_client` is vLLM's; it is loaded here only when somebody asks, and vLLM has loaded it then.
"""

import os

from gptoss_runtime.server.telemetry import NAMES


MULTIPROCESS_ENV = "PROMETHEUS_MULTIPROC_DIR"
"""Set where several processes count, and the numbers of one are not all."""


def exposition() -> bytes | None:
    """Return the samples of `telemetry.NAMES` as Prometheus text; None where this process does not know them all."""
    if MULTIPROCESS_ENV in os.environ:
        return None
    from prometheus_client import REGISTRY, generate_latest  # noqa: PLC0415 - see the module's docstring

    # vLLM registers its metrics when its engine is up, and may do so again: names are looked up each time.
    return generate_latest(REGISTRY.restricted_registry(NAMES))
