"""What benchmarks compile and install, kept between runs by what it was made of."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from e2e.bench.errors import BenchError
from e2e.cluster.commands import last_lines
from e2e.images.cache import cache_directory, locked
from e2e.progress import step


def bench_cache() -> Path:
    """Return the directory of what benchmarks keep; it may not exist yet."""
    return cache_directory().parent / "bench"


def content_key(*parts: bytes) -> str:
    """Return a name that changes with the parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


def ensure(name: str, make: Callable[[Path], None]) -> Path:
    """Return the directory `name` of the cache; `make` fills it if it is not there. It appears whole or not at all."""
    target = bench_cache() / name
    with locked(bench_cache()):
        if not target.exists():
            draft = target.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            with step(f"making {name}"):
                make(draft)
            draft.replace(target)
    return target


def run_to_end(argv: Sequence[str | os.PathLike[str]], *, timeout_seconds: float) -> str:
    """Return what a program printed. Raises BenchError with its last words when it fails or takes too long."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout_seconds)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"cannot run {argv[0]}: {error}") from error
    if done.returncode != 0:
        raise BenchError(f"exit status {done.returncode}: {argv[0]}\n{last_lines(done.stderr or done.stdout)}")
    return done.stdout
