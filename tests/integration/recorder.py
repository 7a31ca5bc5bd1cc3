"""What becomes of a test's deployments, from the API server's own watches: nothing that lasts a moment is missed."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from e2e.kubectl import Kubectl


Obj = dict[str, Any]
Found = TypeVar("Found")
Listener = Callable[[Obj], None]

REPLICAS: Final = "labelSelector=app.kubernetes.io%2Fcomponent%3Dreplica"
WATCHED: Final = {
    "GptOssDeployment": "/apis/gptoss.dev/v1alpha1/namespaces/{}/gptossdeployments?watch=true",
    "StatefulSet": f"/apis/apps/v1/namespaces/{{}}/statefulsets?watch=true&{REPLICAS}",
    "Pod": f"/api/v1/namespaces/{{}}/pods?watch=true&{REPLICAS}",
}
DEPLOYMENT, REVISION, TRAFFIC = "gptoss.dev/deployment", "gptoss.dev/revision", "gptoss.dev/traffic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One event of a watch."""

    at: float
    """When it came, of the monotonic clock."""
    kind: str
    gone: bool
    obj: Obj


class Recorder:
    """Follows GptOssDeployments, replicas' StatefulSets and their pods in one namespace."""

    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        """Told of each pod that comes or changes."""
        self._changes: list[Change] = []
        self._now: dict[tuple[str, str], Obj] = {}
        self._changed = threading.Condition()

    def note(self, kind: str, event: Obj) -> None:
        """Take down one event."""
        obj, gone = event["object"], event["type"] == "DELETED"
        with self._changed:
            self._changes.append(Change(at=time.monotonic(), kind=kind, gone=gone, obj=obj))
            _put(self._now, self._changes[-1])
            self._changed.notify_all()
        if kind == "Pod":
            for listener in self.listeners:
                listener({**obj, "gone": gone})

    def until(self, check: Callable[[], Found | None], what: str, *, seconds: float = 30.0) -> Found:
        """Return what `check` returns as soon as it is true, looking whenever something has changed.

        Raises AssertionError with `what` after `seconds`.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while not (found := check()):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"{what}: not within {seconds:.0f} s; {self._told()}")
                self._changed.wait(left)
            return found

    def deployment(self, name: str) -> Obj:
        """Return a GptOssDeployment as it is now."""
        with self._changed:
            return self._now[("GptOssDeployment", name)]

    def status(self, name: str) -> Obj:
        """Return the status of a GptOssDeployment as it is now."""
        status: Obj = self.deployment(name).get("status", {})
        return status

    def replicas(self, name: str, revision: str | None = None, *, kind: str = "StatefulSet") -> list[Obj]:
        """Return the StatefulSets or pods of a deployment that stay, of one revision or of all."""
        with self._changed:
            return replicas_in(self._now, kind, name, revision)

    def mark(self) -> int:
        """Return a number for now, to ask what happened since."""
        with self._changed:
            return len(self._changes)

    def most(self, name: str, revision: str, *, kind: str = "StatefulSet") -> int:
        """Return how many StatefulSets or pods of a revision have been there at once, at most."""
        return max((len(replicas_in(now, kind, name, revision)) for _, now in self.moments(0)), default=0)

    def least_ready(self, name: str, since: int) -> int:
        """Return how many pods that stay have been ready at once, at least, from the mark `since` on."""
        return min(sum(is_ready(pod) for pod in replicas_in(now, "Pod", name)) for _, now in self.moments(since))

    def since(self, mark: int, kind: str) -> Sequence[Change]:
        """Return what happened to objects of a kind since a mark."""
        with self._changed:
            return [change for change in self._changes[mark:] if change.kind == kind]

    def moments(self, since: int) -> Iterator[tuple[Change, Mapping[tuple[str, str], Obj]]]:
        """Yield each change from the mark `since` on, and what there was then, by kind and name.

        In the order in which the API server made them: on a busy machine one kind's watch comes later than another's.
        """
        now: dict[tuple[str, str], Obj] = {}
        with self._changed:
            changes = list(self._changes)
        first = max((_version(change) for change in changes[:since]), default=0)
        for change in sorted(changes, key=_version):
            _put(now, change)
            if _version(change) >= first:
                yield change, now

    def _told(self) -> str:
        objects = (obj for (kind, _), obj in self._now.items() if kind == "GptOssDeployment")
        return json.dumps({obj["metadata"]["name"]: obj.get("status") for obj in objects}, indent=1)


@contextmanager
def recording(user: Kubectl) -> Iterator[Recorder]:
    """Follow the namespace of `user` as long as it is open."""
    recorder = Recorder()
    processes = {
        kind: subprocess.Popen(
            user.command("get", "--raw", path.format(user.namespace)), stdout=subprocess.PIPE, text=True
        )
        for kind, path in WATCHED.items()
    }
    threads = [threading.Thread(target=_follow, args=(recorder, kind, each)) for kind, each in processes.items()]
    for thread in threads:
        thread.start()
    try:
        yield recorder
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
        for thread in threads:
            thread.join()
        for process in processes.values():
            if process.stdout:
                process.stdout.close()


def is_ready(pod: Obj) -> bool:
    """Whether a pod answers requests."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def uids(objects: Sequence[Obj]) -> set[str]:
    """Return the uids of objects."""
    return {obj["metadata"]["uid"] for obj in objects}


def revision_of(obj: Obj) -> str:
    """Return the revision that a replica is of."""
    revision: str = obj["metadata"]["labels"].get(REVISION, "")
    return revision


def traffic_of(obj: Obj) -> str:
    """Return which requests a replica or its pod gets."""
    traffic: str = obj["metadata"].get("annotations", {}).get(TRAFFIC, "")
    return traffic


def _follow(recorder: Recorder, kind: str, process: "subprocess.Popen[str]") -> None:
    """Read one event a line, as the API server sends them."""
    for line in process.stdout or ():
        recorder.note(kind, json.loads(line))


def _version(change: Change) -> int:
    """Return when it was made, by etcd's count of all changes. All kinds are in the same etcd here."""
    return int(change.obj["metadata"]["resourceVersion"])


def _put(now: dict[tuple[str, str], Obj], change: Change) -> None:
    key = (change.kind, change.obj["metadata"]["name"])
    if change.gone:
        now.pop(key, None)
    else:
        now[key] = change.obj


def replicas_in(now: Mapping[tuple[str, str], Obj], kind: str, name: str, revision: str | None = None) -> list[Obj]:
    """Return the StatefulSets or pods of a deployment that stayed at a moment, of one revision or of all."""
    return [
        obj
        for (each, _), obj in now.items()
        if each == kind
        and obj["metadata"]["labels"][DEPLOYMENT] == name
        and "deletionTimestamp" not in obj["metadata"]
        and revision in (None, revision_of(obj))
    ]
