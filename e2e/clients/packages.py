"""guidellm's packages beside those of the server image, installed once and kept by content.

The directory is under the cache, which a cluster's node sees at its own place, so that a volume can hold it.
"""

import fcntl
import shutil
from pathlib import Path

from e2e.cluster.local.places import cache_root
from e2e.images.commands import run_logged
from e2e.images.layer import key_of
from e2e.images.python_layer import FOR_THE_IMAGE, LOCKS, UV


HERE = Path(__file__).parent
LOCK = HERE / "guidellm.lock"
PLATFORM = "x86_64-manylinux_2_28"
"""Wheels for the C library of any image that vLLM runs in."""
INSTALL_SECONDS = 1800.0
RESOLVE_SECONDS = 600.0


def ensure_packages(python_version: str) -> Path:
    """Return the directory of guidellm's packages for `python_version`, such as `3.13`, installed if need be.

    Raises ImageError when the installer fails.
    """
    root = cache_root() / "clients"
    root.mkdir(parents=True, exist_ok=True)
    directory = root / f"guidellm-{key_of([LOCK.read_bytes(), python_version, PLATFORM])}"
    with (root / "lock").open("a") as lock:
        # The kernel lets go of another installer's lock however it ends.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            partial = directory.with_suffix(".partial")
            if partial.exists():
                shutil.rmtree(partial)
            command: list[str | Path] = [
                *UV,
                "pip",
                "install",
                "--no-deps",
                "--target",
                partial,
                "--requirements",
                LOCK,
            ]
            command += ["--python-version", python_version, "--python-platform", PLATFORM, "--only-binary", ":all:"]
            run_logged(command, root / "install.log", bound_seconds=INSTALL_SECONDS)
            partial.rename(directory)
    return directory


def write_guidellm_lock() -> None:
    """Resolve `guidellm.in` to what fits the server image, and write to the lock what that image lacks.

    Raises ImageError when there is no such solution.
    """
    image = LOCKS / "vllm.lock"
    command: list[str | Path] = [*UV, "pip", "compile", HERE / "guidellm.in", *FOR_THE_IMAGE, "--upgrade"]
    command += ["--no-header", "--no-annotate", "--constraint", image, "--override", LOCKS / "vllm.overrides"]
    command += ["--override", HERE / "guidellm.overrides", "--output-file", LOCK]
    run_logged(command, cache_root() / "clients" / "resolve.log", bound_seconds=RESOLVE_SECONDS)
    there = set(image.read_text().splitlines())
    LOCK.write_text("".join(f"{line}\n" for line in LOCK.read_text().splitlines() if line not in there))
