"""What was measured, by version."""

from e2e.bench.cache import run_to_end
from e2e.gateway.program import haproxy_command


def haproxy_version() -> str:
    """Return the version of the gateway's HAProxy."""
    first = run_to_end([*haproxy_command(), "-v"], timeout_seconds=10).splitlines()[0]
    return first.split()[2]
