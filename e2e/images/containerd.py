"""Sending images into a containerd, and as little as it needs."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from e2e.images import disk
from e2e.images.cache import cache_directory
from e2e.images.commands import SIGN_OF_LIFE_SECONDS, end_family, last_lines, wait_showing_life
from e2e.images.errors import CommandFailedError
from e2e.images.layer import Layer
from e2e.images.oci import Image, layers_to_send, write_archive
from e2e.images.tree_tar import Sink
from e2e.progress import say


ASK_BOUND_SECONDS = 60.0
UNPACK_BOUND_SECONDS = 1200.0
MIB = 2**20


class ProgressSink:
    """Passes on what is written to it, and prints now and then how much that was."""

    def __init__(self, out: Sink, expected_bytes: int) -> None:
        self._out = out
        self._expected_bytes = expected_bytes
        self._sent_bytes = 0
        self._said_at = time.monotonic()

    def write(self, data: bytes, /) -> None:
        """Take `data` as a whole."""
        self._out.write(data)
        self._sent_bytes += len(data)
        if time.monotonic() - self._said_at > SIGN_OF_LIFE_SECONDS:
            self._said_at = time.monotonic()
            say(f"  sent {self._sent_bytes // MIB} of {self._expected_bytes // MIB} MiB")


def complete_images(ctr: Sequence[str]) -> set[str]:
    """Return the names of the images that containerd has with all their content, unpacked and ready to run."""
    complete = set()
    for line in _ask(ctr, "images", "check").splitlines()[1:]:
        # Name, type, digest, "complete (3/3)" or "incomplete (1/3)", size, and whether it is unpacked.
        fields = line.split()
        if "complete" in fields and fields[-1] == "true":
            complete.add(fields[0])
    return complete


def import_images(ctr: Sequence[str], images: Sequence[Image], *, store: Path) -> None:
    """Make containerd have `images`, unpacked. What it has already is not sent again.

    `ctr` is the command that reaches it, namespace included, such as `["ctr", "-a", SOCKET, "-n", "k8s.io"]`.
    `store` is a directory on the disk where it keeps its content.
    Raises `NotPossibleHereError` when that disk is too full, `CommandFailedError` with what it said when it refuses.
    """
    there = complete_images(ctr)
    missing = [image for image in images if image.name not in there]
    if not missing:
        say("containerd has all of them already")
        return
    layers = layers_to_send(missing, set(_ask(ctr, "content", "ls", "--quiet").split()))
    # Once as content, and once unpacked.
    needed_bytes = 2 * sum(layer.blob.size_bytes for layer in layers)
    disk.require_free(store, needed_bytes, "containerd's copy of the images")
    _stream(ctr, missing, layers)
    still_missing = {image.name for image in missing} - complete_images(ctr)
    if still_missing:
        raise CommandFailedError(
            f"containerd took the archive but does not have {', '.join(sorted(still_missing))} complete and unpacked. "
            f"`{' '.join(ctr)} images check` says what it lacks; remove that image with `images rm` and import again."
        )


def _stream(ctr: Sequence[str], images: Sequence[Image], layers: Sequence[Layer]) -> None:
    log = cache_directory() / "logs" / "import.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    size_bytes = sum(layer.blob.size_bytes for layer in layers)
    say(f"  sending {len(layers)} layers, {size_bytes // MIB} MiB, for {len(images)} images")
    command = [*ctr, "images", "import", "-"]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        assert process.stdin is not None
        with process.stdin as pipe:
            write_archive(images, layers, ProgressSink(pipe, size_bytes))
        wait_showing_life(process, log, UNPACK_BOUND_SECONDS)
    except BrokenPipeError:
        # It ended early and has said why.
        process.wait(timeout=ASK_BOUND_SECONDS)
    finally:
        end_family(process)
    if process.returncode != 0:
        raise CommandFailedError(
            f"`{' '.join(command)}` ended with {process.returncode}. Its log is {log}, which ends:\n{last_lines(log)}"
        )


def _ask(ctr: Sequence[str], *question: str) -> str:
    command = [*ctr, *question]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ASK_BOUND_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise CommandFailedError(f"`{' '.join(command)}` has not answered within {ASK_BOUND_SECONDS:.0f} s.") from error
    if answer.returncode != 0:
        raise CommandFailedError(
            f"`{' '.join(command)}` ended with {answer.returncode}: {answer.stderr.strip()}. Does that containerd run?"
        )
    return answer.stdout
