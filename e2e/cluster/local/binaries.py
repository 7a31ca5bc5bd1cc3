"""Build the cluster's programs once, and find them again."""

import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from e2e.cluster.commands import last_lines, run
from e2e.cluster.errors import ClusterError
from e2e.cluster.local.modules import BUILD_ENVIRONMENT, BUILD_FLAGS, MODULES, Module, content_key, link_flags
from e2e.cluster.local.places import cache_root, require_free_space
from e2e.cluster.local.toolchain import Go, find_go
from e2e.progress import say


BUILD_GIBIBYTES = 11
"""Go's module cache, its build cache and the programs, as measured."""
BUILD_SECONDS = 3600
"""The slowest program took 6 minutes on 2 cores."""
REPORT_SECONDS = 15
FETCH_SECONDS = 300
"""For the sources of one module."""


def ensure_binaries(programs: Iterable[str]) -> dict[str, Path]:
    """Return the path of each program, building what the cache lacks.

    Two builders take turns; a program appears in the cache whole or not at all.
    Raises `ClusterError` with the compiler's last words when a build fails.
    """
    wanted = set(programs)
    if unknown := wanted - {name for module in MODULES for name in module.packages}:
        raise ClusterError(f"no module builds {', '.join(sorted(unknown))}")
    go = find_go()
    found = {}
    for module in MODULES:
        directory = cache_root() / "bin" / content_key(module, go.version)
        for program, package in module.packages.items():
            if program in wanted:
                found[program] = ensure_binary(go, module, package, directory / program)
    return found


def ensure_binary(go: Go, module: Module, package: str, target: Path) -> Path:
    """Return `target`, built if it is not there."""
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        wait_for_turn(lock, target.name)
        if not target.exists():
            require_free_space(target.parent, BUILD_GIBIBYTES, "building Kubernetes' programs")
            draft = target.with_suffix(".draft")
            build(go, module, package, draft)
            draft.replace(target)
    return target


def ensure_crds(module: Module) -> list[Path]:
    """Return the files with the CustomResourceDefinitions that a module's programs need, kept beside the programs.

    Raises `ClusterError` when its sources cannot be fetched.
    """
    go = find_go()
    target = cache_root() / "bin" / content_key(module, go.version) / "crds"
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            draft = target.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            sources = fetch(go, module)
            for file in (file for directory in module.crds for file in sorted((sources / directory).glob("*.yaml"))):
                shutil.copyfile(file, draft / file.name)
            draft.rename(target)
    return sorted(target.glob("*.yaml"))


def fetch(go: Go, module: Module) -> Path:
    """Return where the sources of `module.source` are, in the version that its go.mod asks for."""
    argv = [go.program, "-C", str(module.directory), "mod", "download", "-json", module.source]
    said = run(argv, timeout_seconds=FETCH_SECONDS, environment={**os.environ, **BUILD_ENVIRONMENT})
    return Path(json.loads(said)["Dir"])


def wait_for_turn(lock: IO[str], program: str) -> None:
    """Take the lock; another process that builds the same program is waited for, since its result will be ours."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"{program}: another process builds it; waiting for that")
        fcntl.flock(lock, fcntl.LOCK_EX)


def build(go: Go, module: Module, package: str, target: Path) -> None:
    """Compile one program, and say every 15 s how far it has come. Raises `ClusterError` when it fails."""
    argv = [go.program, "build", *BUILD_FLAGS, "-v", "-ldflags", link_flags(module), "-o", str(target), package]
    log = target.with_suffix(".log")
    say(f"{target.stem}: building with {go.version} (the first time takes minutes) ...")
    began = time.monotonic()
    with log.open("w") as output:
        compiler = subprocess.Popen(
            argv,
            cwd=module.directory,
            env={**os.environ, **BUILD_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            status = follow(compiler, target.stem, log, began)
        finally:
            if compiler.poll() is None:
                compiler.kill()
                compiler.wait()
    if status != 0:
        raise ClusterError(
            f"cannot build {target.stem} from {package} (exit status {status}).\n{last_lines(log.read_text())}\n"
            f"  It needs Go's module proxy (GOPROXY) and {BUILD_GIBIBYTES} GiB of disk. The whole output: {log}"
        )
    log.unlink()
    say(f"{target.stem}: {time.monotonic() - began:.1f} s")


def follow(compiler: subprocess.Popen[bytes], program: str, log: Path, began: float) -> int:
    """Return the compiler's exit status. Raises `ClusterError` when it does not end in time."""
    while True:
        try:
            return compiler.wait(timeout=REPORT_SECONDS)
        except subprocess.TimeoutExpired:
            seconds = time.monotonic() - began
            lines = log.read_text().splitlines()
            fetched = sum(line.startswith("go: downloading") for line in lines)
            say(f"{program}: {seconds:.0f} s, {fetched} modules fetched, {len(lines) - fetched} packages compiled")
            if seconds > BUILD_SECONDS:
                raise ClusterError(f"{program} is not built after {BUILD_SECONDS} s; see {log}") from None
