"""The base layer: a small Debian with Python and HAProxy, and running programs inside it.

What mounts something does so in a mount namespace of its own, so nothing can be left mounted, whatever happens.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from e2e.cluster.errors import ClusterError
from e2e.cluster.packages import ensure_packages
from e2e.images.cache import cache_directory
from e2e.images.commands import run_logged
from e2e.images.errors import NotPossibleHereError
from e2e.images.layer import LayerSpec, key_of
from e2e.progress import say


SUITE = "trixie"
"""Debian 13: Python 3.13 and HAProxy 3.0, which has long-term support."""
PYTHON_VERSION = "3.13"
SITE_PACKAGES = Path("usr/local/lib/python3.13/dist-packages")
"""Where Debian's Python looks for packages that are not Debian's; below the root directory."""
PACKAGES = ("ca-certificates", "haproxy", "libnuma1", "libstdc++6", "python3")
"""Beyond Debian's minimum. vLLM's CPU kernels need libnuma and libstdc++."""
USELESS = (
    "usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man",
    "var/cache", "var/lib/apt/lists", "var/log",
)  # fmt: skip
USER_ID = 10001
USER_NAME = "gptoss"
RECIPE = "1"
"""Raise it when this file makes another tree of the same packages."""

DEBOOTSTRAP_BOUND_SECONDS = 1200.0
CHROOT_BOUND_SECONDS = 900.0
GIB = 2**30

_IN_OWN_NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child")


def base_layer() -> LayerSpec:
    """Return what the base layer is made of."""
    key = key_of([SUITE, *PACKAGES, *USELESS, str(USER_ID), USER_NAME, RECIPE])
    return LayerSpec(name="base", key=key, needed_bytes=GIB, build=build_base)


PROGRAMS = {
    "debootstrap": "debootstrap",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "cc": "gcc",
    "nm": "binutils",
}
"""What building takes, and Debian's package for each."""


def require_build_machine() -> None:
    """Install what building images takes. Raises `NotPossibleHereError`, which says what this machine lacks."""
    if os.geteuid() != 0:
        raise NotPossibleHereError(
            "Building images changes owners and uses chroot: run it as root, or where Docker runs."
        )
    if os.uname().machine != "x86_64":
        raise NotPossibleHereError(
            f"The images' Python packages are locked for x86-64, this machine is {os.uname().machine}."
        )
    try:
        ensure_packages(PROGRAMS)
    except ClusterError as error:
        raise NotPossibleHereError(str(error)) from error


def build_base(tree: Path) -> None:
    """Fill `tree` with Debian, Python and HAProxy, and an unprivileged user."""
    include = ",".join(PACKAGES)
    # Debian's default mirror is debootstrap's own business; a machine that needs another one sets it in debootstrap.
    command: list[str | Path] = [
        *_IN_OWN_NAMESPACES,
        "debootstrap",
        "--variant=minbase",
        f"--include={include}",
        SUITE,
        tree,
    ]
    run_logged(
        command,
        cache_directory() / "logs" / "debootstrap.log",
        bound_seconds=DEBOOTSTRAP_BOUND_SECONDS,
        environment=os.environ | {"PATH": _path_with_sbin(), "LC_ALL": "C"},
    )
    for useless in USELESS:
        shutil.rmtree(tree / useless)
        (tree / useless).mkdir(mode=0o755)
    with (tree / "etc/passwd").open("a") as passwd:
        passwd.write(f"{USER_NAME}:x:{USER_ID}:{USER_ID}::/tmp:/usr/sbin/nologin\n")
    with (tree / "etc/group").open("a") as group:
        group.write(f"{USER_NAME}:x:{USER_ID}:\n")
    (tree / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    (tree / SITE_PACKAGES).mkdir(mode=0o755, parents=True, exist_ok=True)
    compile_bytecode(
        base=tree, tree=tree, directories=[Path("usr/lib/python3"), Path(f"usr/lib/python{PYTHON_VERSION}")]
    )


def compile_bytecode(*, base: Path, tree: Path, directories: Sequence[Path]) -> None:
    """Compile the Python files in `directories` of `tree` with the Python of `base`.

    The bytecode is marked as never to be checked against its source: layers have fixed times, and a container that
    distrusted its bytecode would compile everything at each start, as it cannot keep the result.
    """
    say("  compiling bytecode")
    mounts = "".join(f'mount --bind "$TREE/{directory}" "$BASE/{directory}" && ' for directory in directories)
    compile_all = "/usr/bin/python3 -m compileall -q -f -j 0 --invalidation-mode unchecked-hash"
    script = (
        f'{mounts if tree != base else ""}exec chroot "$BASE" {compile_all} {" ".join(f"/{d}" for d in directories)}'
    )
    run_logged(
        [*_IN_OWN_NAMESPACES, "sh", "-c", script],
        cache_directory() / "logs" / "compileall.log",
        bound_seconds=CHROOT_BOUND_SECONDS,
        environment={"PATH": _path_with_sbin(), "BASE": str(base), "TREE": str(tree), "LC_ALL": "C.UTF-8"},
    )


def _path_with_sbin() -> str:
    return os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin:/usr/bin:/bin"
