"""What is needed from the distribution, and how it comes onto the machine."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from e2e.cluster.commands import run
from e2e.cluster.errors import ClusterError
from e2e.progress import step


CNI_PLUGINS = "/usr/lib/cni"

FOR_API: Mapping[str, str] = {"ip": "iproute2", "nsenter": "util-linux", "unshare": "util-linux", "umount": "mount"}
"""Debian's package for each program."""
FOR_NODE: Mapping[str, str] = {
    **FOR_API,
    "containerd": "containerd",
    "runc": "runc",
    f"{CNI_PLUGINS}/bridge": "containernetworking-plugins",
    "nft": "nftables",
    "conntrack": "conntrack",
}

INSTALL_SECONDS = 900


def ensure_packages(programs: Mapping[str, str]) -> None:
    """Install the packages of the programs that are not there.

    Raises `ClusterError` that says what is missing when that is not allowed or not possible here.
    """
    packages = missing_packages(programs)
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise ClusterError(
            f"missing: {', '.join(missing_programs(programs))}. On Debian they are in {' '.join(packages)}; "
            "install them as your distribution names them, and try again"
        )
    if os.geteuid() != 0:
        raise ClusterError(f"missing packages, and only root may install them: apt-get install {' '.join(packages)}")
    with step(f"installing {' '.join(packages)}"):
        install(packages)


def install(packages: list[str]) -> None:
    """Install with apt-get; the lists of packages are fetched only when they are not there or too old."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    argv = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    try:
        run(argv, timeout_seconds=INSTALL_SECONDS, environment=environment)
    except ClusterError:
        run(["apt-get", "update", "--quiet"], timeout_seconds=INSTALL_SECONDS, environment=environment)
        run(argv, timeout_seconds=INSTALL_SECONDS, environment=environment)


def missing_programs(programs: Mapping[str, str]) -> list[str]:
    """Return the programs that are not on the machine."""
    return [program for program in programs if find_program(program) is None]


def missing_packages(programs: Mapping[str, str]) -> list[str]:
    """Return the packages to install, each once."""
    return sorted({programs[program] for program in missing_programs(programs)})


def find_program(program: str) -> str | None:
    """Return where a program is; the directories of system programs count, whatever PATH says."""
    if program.startswith("/"):
        return program if Path(program).exists() else None
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
