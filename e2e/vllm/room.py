"""A room: the file system of the server's image, for programs that run on this machine without a container runtime.

The image's layers are laid over each other in a mount namespace of the program's own, read-only as in a pod, and the
program is the first process of a process namespace of its own. So everything that it mounted, and everything that it
started, is gone when it ends, however it or we end. Its network is this machine's.
"""

import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from e2e.bench.processes import with_children
from e2e.images.build import build_images
from e2e.images.names import WRITABLE, server_image
from e2e.images.oci import Image


SERVER_MODEL = Path("/srv")
"""Where the model lies inside the room; read-only."""
SERVER_SCRATCH = Path("/mnt")
"""Where a directory of this machine lies inside the room, which the program may write to."""
TRY_SECONDS = 30.0
END_SECONDS = 10.0
FORK_SECONDS = 5.0
SHARED_MEMORY_BYTES = 2**31

_DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
_IN_OWN_NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
_NO_PRIVILEGES = "--no-new-privs --inh-caps=-all --bounding-set=-all --clear-groups"


class RoomError(RuntimeError):
    """A program cannot be run in the image's file system here; the message says what was said, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What every program of this room sees."""

    image: Image
    model: Path
    """Directory of this machine with the model's weights."""

    def command(self, program: Sequence[str], *, root: Path, scratch: Path) -> list[str]:
        """Return the command that runs `program` with the image's root file system mounted on the directory `root`."""
        script = "\n".join([*_mounts(self, root, scratch), _enter(self, root, program)])
        return [*_DIE_WITH_US, *_IN_OWN_NAMESPACES, "sh", "-ec", script]

    def environment(self, changes: Mapping[str, str]) -> dict[str, str]:
        """Return the image's environment with these changes; nothing of this machine's is in it."""
        return {**self.image.settings.environment, **changes}


def open_room(model: Path) -> Room:
    """Return a room with this checkout's server image, whose layers are built as far as the cache lacks them.

    Raises ImageError when they cannot be built, RoomError when programs cannot be run in them here.
    """
    if os.geteuid() != 0:
        raise RoomError("Mounting the image's layers takes root: run this as root.")
    room = Room(image=build_images([server_image()])[0], model=model)
    said = run_in(room, ["true"], timeout_seconds=TRY_SECONDS)
    if said.returncode != 0:
        raise RoomError(
            f"Cannot lay the image's layers over each other: {said.stderr.strip()}. "
            "This takes overlayfs in the kernel, and a cache on a file system that it accepts, such as ext4 or xfs: "
            "set XDG_CACHE_HOME to a directory on one, and run outside of other containers."
        )
    return room


def run_in(
    room: Room, program: Sequence[str], *, stdin: str = "", timeout_seconds: float, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `program` to its end. Raises subprocess.TimeoutExpired; nothing of it is left then."""
    with tempfile.TemporaryDirectory(prefix="gptoss-room-") as base:
        root, scratch = directories(Path(base), room)
        return subprocess.run(
            room.command(program, root=root, scratch=scratch),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_seconds,
            env=room.environment(environment),
        )


def directories(base: Path, room: Room) -> tuple[Path, Path]:
    """Make and return the directories `root` and `scratch` in `base`; the room's user may write to the latter."""
    root, scratch = base / "root", base / "scratch"
    root.mkdir()
    scratch.mkdir()
    user, _, group = room.image.settings.user.partition(":")
    os.chown(scratch, int(user), int(group))
    base.chmod(0o755)
    return root, scratch


class Program:
    """A program that runs in a room."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self.pid = _only_child(process)
        """Its first process, as this machine numbers it."""

    @classmethod
    def start(
        cls, room: Room, program: Sequence[str], base: Path, output: IO[bytes], environment: Mapping[str, str]
    ) -> Self:
        """Start `program`. `base` is an empty directory for what it takes, which the caller removes after its end."""
        root, scratch = directories(base, room)
        return cls(
            subprocess.Popen(
                room.command(program, root=root, scratch=scratch),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=room.environment(environment),
                # Ctrl-C is for us; we end it then.
                start_new_session=True,
            )
        )

    @property
    def exit_status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def pids(self) -> list[int]:
        """Return all of its processes, as this machine numbers them, the first one first."""
        return with_children([self.pid])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its first process."""
        os.kill(self.pid, number)

    def wait(self, timeout_seconds: float) -> int:
        """Return the exit status. Raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout_seconds)

    def end(self) -> None:
        """Kill it, if it still runs. The kernel ends the rest of its process namespace with it."""
        if self._process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self._process.wait(END_SECONDS)


def _mounts(room: Room, root: Path, scratch: Path) -> list[str]:
    """Return the shell commands that furnish the room. The uppermost layer comes first, as overlayfs wants it."""
    layers = ":".join(str(layer.tree) for layer in reversed(room.image.layers))

    def at(path: str | Path) -> str:
        return shlex.quote(f"{root}{path}")

    return [
        f"mount -t overlay -o ro,lowerdir={shlex.quote(layers)} room {at('')}",
        f"mount -t proc proc {at('/proc')}",
        f"mount --rbind /sys {at('/sys')}",
        f"mount --rbind /dev {at('/dev')}",
        f"mount -t tmpfs -o mode=1777,size={SHARED_MEMORY_BYTES} room {at('/dev/shm')}",  # noqa: S108 - the room's own
        f"mount -t tmpfs -o mode=1777 room {at(WRITABLE)}",
        f"mount --bind {shlex.quote(str(room.model))} {at(SERVER_MODEL)}",
        f"mount -o remount,ro,bind {at(SERVER_MODEL)}",
        f"mount --bind {shlex.quote(str(scratch))} {at(SERVER_SCRATCH)}",
    ]


def _enter(room: Room, root: Path, program: Sequence[str]) -> str:
    """Return the shell command that becomes `program`, as the image runs it."""
    user, _, group = room.image.settings.user.partition(":")
    # Said again after the change of user, which makes the kernel forget it.
    become = f"setpriv --reuid={user} --regid={group} {_NO_PRIVILEGES} --pdeathsig=KILL"
    inside = f"env --chdir={room.image.settings.working_directory} {shlex.join(program)}"
    return f"exec chroot {shlex.quote(str(root))} {become} {inside}"


def _only_child(process: "subprocess.Popen[bytes]") -> int:
    """Return the process that `unshare` made, the first of its namespace."""
    deadline = time.monotonic() + FORK_SECONDS
    while time.monotonic() < deadline:
        children = with_children([process.pid])[1:]
        if children:
            return children[0]
        if process.poll() is not None:
            break
        time.sleep(0.01)
    process.kill()
    process.wait()
    raise RoomError("The program ended before it began; what it said is in its output.")
