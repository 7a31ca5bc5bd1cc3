"""The processes of a cluster: started with a mark that cannot go stale, awaited with a bound, stopped for certain.

Every process carries the cluster's name and its role in its environment, which its children inherit. So the process
table itself says what belongs to a cluster: nothing is lost when the starter is killed between two steps, and no number
of a process that has ended can be mistaken for a process of ours.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.commands import last_lines
from e2e.cluster.errors import ClusterError


CLUSTER_VARIABLE = "GPTOSS_CLUSTER_NAME"
ROLE_VARIABLE = "GPTOSS_CLUSTER_ROLE"
LOOK_SECONDS = 0.05
"""How often a wait looks again. What is awaited is another program's readiness, which no event announces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that lives or has lived. Number and start time together are never used twice."""

    pid: int
    role: str
    started: int
    """Clock ticks since the machine's start."""
    log: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """What the kernel says about a process in /proc/PID/stat."""

    state: str
    """One letter; Z and X are processes that have ended."""
    started: int


def parse_stat(text: str) -> Stat:
    """Return state and start time from /proc/PID/stat; the program's name in it may hold spaces and brackets."""
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(state=fields[0], started=int(fields[19]))


def read_stat(pid: int) -> Stat | None:
    """Return what the kernel says now, or None when there is no such process."""
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def lives(process: Process) -> bool:
    """Whether this very process still runs: not one that ended, nor another that got its number."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)  # a child of ours that has ended is thereby buried
    stat = read_stat(process.pid)
    return stat is not None and stat.started == process.started and stat.state not in "ZX"


def owned(cluster: str) -> list[Process]:
    """Return every living process of the cluster, by the mark in its environment."""
    mark = f"{CLUSTER_VARIABLE}={cluster}".encode()
    found = []
    for pid in all_pids():
        variables = read_environment(pid)
        stat = read_stat(pid)
        if mark in variables and stat is not None and stat.state not in "ZX":
            role = next((v.split(b"=", 1)[1].decode() for v in variables if v.startswith(ROLE_VARIABLE.encode())), "")
            found.append(Process(pid=pid, role=role, started=stat.started))
    return found


def in_namespace(network: Path) -> list[Process]:
    """Return every living process in the network namespace that is mounted on `network`."""
    try:
        wanted = network.stat()
    except FileNotFoundError:
        return []
    found = []
    for pid in all_pids():
        try:
            has = Path(f"/proc/{pid}/ns/net").stat()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        stat = read_stat(pid)
        if stat is not None and (has.st_dev, has.st_ino) == (wanted.st_dev, wanted.st_ino):
            found.append(Process(pid=pid, role="", started=stat.started))
    return found


def all_pids() -> list[int]:
    """Return the numbers of all processes but this one."""
    return [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and int(entry.name) != os.getpid()
    ]


def read_environment(pid: int) -> list[bytes]:
    """Return the process's variables; none when it has ended or belongs to another user."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def start(
    argv: Sequence[str],
    *,
    cluster: str,
    role: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> Process:
    """Start a program that outlives this one, its output going to `log`, and return it.

    It gets a session of its own, so that a Ctrl-C in this terminal does not reach it: its starter ends it in order.
    Raises `ClusterError` when the program cannot be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    variables = {**os.environ, **(environment or {}), CLUSTER_VARIABLE: cluster, ROLE_VARIABLE: role}
    with log.open("ab") as output:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
            (os.POSIX_SPAWN_DUP2, output.fileno(), 2),
        ]
        try:
            pid = os.posix_spawnp(argv[0], list(argv), variables, file_actions=actions, setsid=True)
        except OSError as error:
            raise ClusterError(f"cannot start {role}: {argv[0]}: {error.strerror}") from error
    stat = read_stat(pid)
    return Process(pid=pid, role=role, started=stat.started if stat else 0, log=log)


def wait_until(ready: Callable[[], bool], *, what: str, timeout_seconds: float, alive: Iterable[Process] = ()) -> None:
    """Return when `ready` says so.

    Raises `ClusterError` as soon as one of the `alive` processes has ended, or after `timeout_seconds`.
    """
    watched = tuple(alive)
    deadline = time.monotonic() + timeout_seconds
    while not ready():
        for process in watched:
            if not lives(process):
                raise ClusterError(f"{process.role} ended while waiting for {what}{end_of_log(process)}")
        if time.monotonic() > deadline:
            logs = "".join(end_of_log(process) for process in watched)
            raise ClusterError(f"waited {timeout_seconds:.0f} s in vain for {what}{logs}")
        time.sleep(LOOK_SECONDS)


def end_of_log(process: Process) -> str:
    """Return the last lines of a process's log, as a part of an error message."""
    if process.log is None or not process.log.exists():
        return ""
    return f"\n  the end of {process.log}:\n{last_lines(process.log.read_text(errors='replace'), 8)}"


def stop(processes: Sequence[Process], *, grace_seconds: float) -> None:
    """End processes, together: asked first when there is a grace, then killed.

    Raises `ClusterError` when one is still there 10 s after the kill, which points to a stuck device or mount.
    """
    if grace_seconds > 0:
        for process in processes:
            send(process, signal.SIGTERM)
        wait_for_end(processes, grace_seconds)
    for process in processes:
        send(process, signal.SIGKILL)
    if stuck := wait_for_end(processes, 10):
        names = ", ".join(f"{process.role} (process {process.pid})" for process in stuck)
        raise ClusterError(f"cannot end {names}: killed, but still there after 10 s; look at /proc/PID/stack and wchan")


def send(process: Process, number: signal.Signals) -> None:
    """Signal this very process; nothing happens when it has ended."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        # Checked after opening: from here on the handle cannot come to mean another process.
        if lives(process):
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def wait_for_end(processes: Sequence[Process], timeout_seconds: float) -> list[Process]:
    """Return the processes that still live after at most `timeout_seconds`."""
    deadline = time.monotonic() + timeout_seconds
    return [process for process in processes if not has_ended(process, deadline - time.monotonic())]


def has_ended(process: Process, timeout_seconds: float) -> bool:
    """Whether the process ends within the time; the kernel announces it."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if lives(process):
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            poll.poll(max(0.0, timeout_seconds) * 1000)
        return not lives(process)
    finally:
        os.close(handle)
