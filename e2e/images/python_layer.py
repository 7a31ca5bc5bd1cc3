"""Layers of Python packages: installed from a committed lock, compiled, and stripped of what nobody loads."""

import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from e2e.images.cache import cache_directory
from e2e.images.commands import run_logged
from e2e.images.layer import LayerSpec, key_of, layer_directory
from e2e.images.rootfs import PYTHON_VERSION, SITE_PACKAGES, base_layer, compile_bytecode


LOCKS = Path(__file__).parent / "locks"
PLATFORM = "x86_64-manylinux_2_40"
"""Wheels for the base layer's C library, whatever machine builds."""
INSTALL_BOUND_SECONDS = 3600.0
"""A slow line needs half an hour for vLLM and PyTorch."""

UV = (sys.executable, "-m", "uv")
FOR_THE_IMAGE = ("--python-version", PYTHON_VERSION, "--python-platform", PLATFORM, "--only-binary", ":all:")


def python_layer(
    *, name: str, lock: Path, recipe: Sequence[str], needed_bytes: int, finish: Callable[[Path], None]
) -> LayerSpec:
    """Return the layer of the packages that `lock` names; `finish` changes the directory they were installed into.

    The key is made of the lock and `recipe`, the texts that describe what `finish` does.
    """

    def build(tree: Path) -> None:
        site = tree / SITE_PACKAGES
        site.mkdir(parents=True)
        # Copies, not links: stripping must not change the installer's cache.
        command: list[str | Path] = [*UV, "pip", "install", "--target", site, *FOR_THE_IMAGE]
        command += ["--no-deps", "--link-mode", "copy", "--requirements", lock]
        run_logged(command, cache_directory() / "logs" / f"{name}.log", bound_seconds=INSTALL_BOUND_SECONDS)
        # The starters name the Python that installed them. Our own are in /usr/local/bin.
        remove(site, ["bin", ".lock"])
        finish(site)
        compile_bytecode(base=layer_directory(base_layer()) / "tree", tree=tree, directories=[SITE_PACKAGES])

    key = key_of([lock.read_bytes(), PYTHON_VERSION, PLATFORM, *recipe])
    return LayerSpec(name=name, key=key, needed_bytes=needed_bytes, build=build)


def remove(site: Path, patterns: Iterable[str]) -> int:
    """Remove the files and directories that match, and return how many bytes the files had."""
    freed = 0
    for pattern in patterns:
        for path in sorted(site.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                freed += sum(child.lstat().st_size for child in path.rglob("*") if not child.is_dir())
                shutil.rmtree(path)
            elif path.exists() or path.is_symlink():
                freed += path.lstat().st_size
                path.unlink()
    return freed


def write_lock(*, requirements: Path, overrides: Path | None, lock: Path) -> None:
    """Resolve `requirements` anew and write the exact versions to `lock`."""
    command: list[str | Path] = [
        *UV,
        "pip",
        "compile",
        requirements,
        *FOR_THE_IMAGE,
        "--upgrade",
        "--no-header",
        "--no-annotate",
    ]
    if overrides is not None:
        command += ["--override", overrides]
    run_logged([*command, "--output-file", lock], cache_directory() / "logs" / "lock.log", bound_seconds=600.0)
