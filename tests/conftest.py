"""What all tests share."""

import pytest
from hypothesis import settings

from e2e.cluster.packages import ensure_packages


# Time is measured in benchmarks; a busy machine is no failure. The seed is fixed, so that a failure repeats.
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci")


@pytest.fixture(scope="session")
def haproxy() -> str:
    """The gateway's program, installed now if it is not there."""
    ensure_packages({"haproxy": "haproxy"})
    return "haproxy"
