"""kubectl, run as its plug-ins run it: in the user's name, with the user's configuration, each call within a time."""

import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final, cast

from gptoss_operator.api.names import GROUP, PLURAL
from gptoss_operator.errors import GptOssError


RESOURCE: Final = f"{PLURAL}.{GROUP}"
"""In full: another kind of the cluster may have the same short name."""

CALL_SECONDS: Final = 60.0
"""How long one call may take. Plug-ins that log a user in are part of it."""

REMEDIES: Final[Mapping[str, str]] = {
    "(NotFound)": "name its namespace with -n, or look for it with `kubectl get gptoss -A`",
    "doesn't have a resource type": "the operator is not installed in this cluster, or --context names another one",
    "(Forbidden)": "ask who gives out rights in this cluster",
}
"""What one can do, by what kubectl says."""


class KubectlError(GptOssError):
    """A call of kubectl failed. The message says which, what kubectl said, and what can be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubectl:
    """kubectl with the user's own flags."""

    flags: tuple[str, ...] = ()
    """Such as `--namespace=demo`."""

    def get(self, name: str) -> dict[str, Any]:
        """Return the GptOssDeployment `name`. Raises KubectlError."""
        return self._object("get", RESOURCE, name)

    def patch(self, name: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Merge `patch` into the GptOssDeployment `name`, and return what it is then. Raises KubectlError."""
        return self._object("patch", RESOURCE, name, "--type=merge", "-p", json.dumps(patch))

    def follow(self, name: str, timeout_seconds: float | None) -> Generator[dict[str, Any]]:
        """Yield the GptOssDeployment `name` as it is, and then after each change, until the time is over.

        None: there is no such time. The caller closes the iterator, which ends kubectl.
        Raises KubectlError, also when the object is deleted.
        """
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        # A watch of an object that is not there would say nothing for ever.
        self.get(name)
        # The API server ends each watch after a while. The next one begins with the object as it is.
        while end is None or time.monotonic() < end:
            yield from self._watch(name, None if end is None else end - time.monotonic())

    def _object(self, *arguments: str) -> dict[str, Any]:
        said = f"kubectl {' '.join(arguments[:3])}"
        command = ["kubectl", *self.flags, *arguments, "-o", "json"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=CALL_SECONDS)
        except OSError as error:
            raise _not_started(error) from error
        except subprocess.TimeoutExpired as error:
            raise KubectlError(f"{said}: no answer within {CALL_SECONDS:.0f} s; try it by hand") from error
        if done.returncode:
            raise _failed(said, done.stderr)
        try:
            return cast("dict[str, Any]", json.loads(done.stdout))
        except ValueError as error:
            raise KubectlError(f"{said} printed no JSON: {done.stdout[:80]!r}") from error

    def _watch(self, name: str, timeout_seconds: float | None) -> Generator[dict[str, Any]]:
        """Yield what one watch delivers. Raises KubectlError."""
        # As a list of one: of a single object, kubectl shows no change that falls between its GET and its watch.
        arguments = ("get", RESOURCE, f"--field-selector=metadata.name={name}", "--watch", "--output-watch-events")
        command = ["kubectl", *self.flags, *arguments, "-o", "json"]
        said = f"kubectl get {RESOURCE} {name} --watch"
        with (
            tempfile.TemporaryFile("w+") as stderr,
            _started(command, stderr, timeout_seconds) as (process, is_over),
        ):
            any_came = False
            for event in decoded(process.stdout or ()):
                any_came = True
                yield _object_of(event, said)
            if not is_over.is_set() and (process.wait() or not any_came):
                stderr.seek(0)
                raise _failed(said, stderr.read())


@contextmanager
def _started(
    command: Sequence[str], stderr: IO[str], timeout_seconds: float | None
) -> Iterator[tuple[subprocess.Popen[str], threading.Event]]:
    """Yield a process that is ended when the time is over, and whether it is. Raises KubectlError."""
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    except OSError as error:
        raise _not_started(error) from error
    is_over = threading.Event()

    def end() -> None:
        is_over.set()
        process.kill()

    # Reading blocks until the next event; ending the process ends the reading.
    timer = threading.Timer(timeout_seconds or 0, end)
    if timeout_seconds is not None:
        timer.start()
    try:
        yield process, is_over
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def decoded(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of `lines`, each on one line or pretty-printed from column 0 to column 0.

    One that is broken off is left out: its process was ended.
    """
    parts: list[str] = []
    for line in lines:
        parts.append(line)
        if line.startswith("}") or (len(parts) == 1 and line.rstrip().endswith("}")):
            yield json.loads("".join(parts))
            parts.clear()


def _object_of(event: dict[str, Any], said: str) -> dict[str, Any]:
    body: dict[str, Any] = event["object"]
    if event["type"] == "DELETED":
        raise KubectlError(f"{said}: it was deleted")
    if event["type"] == "ERROR":
        raise KubectlError(f"{said}: {body.get('message', 'the API server ended the watch')}; run it again")
    return body


def _not_started(error: OSError) -> KubectlError:
    return KubectlError(f"kubectl cannot be started ({error.strerror}): install it, or add its directory to PATH")


def _failed(said: str, stderr: str) -> KubectlError:
    """Return the error of a call. Of several lines the last one says it; those before are of discovery and retries."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    message = lines[-1] if lines else "it ended and said nothing"
    remedy = next((f"; {remedy}" for marker, remedy in REMEDIES.items() if marker in message), "")
    return KubectlError(f"{said}: {message}{remedy}")
