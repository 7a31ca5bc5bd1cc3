"""What scenarios ask of pods, and load that runs while something happens to them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from e2e.children import eventually
from e2e.kubectl import Kubectl
from e2e.replicas import metric
from e2e.scenarios.conftest import LOAD_SECONDS, Load
from e2e.stack import RELEASE


REPLICAS = "gptoss.dev/deployment=chat,app.kubernetes.io/component=replica"
GATEWAYS = "gptoss.dev/deployment=chat,app.kubernetes.io/component=gateway"
BEGUN = "/tmp/begun-"  # noqa: S108 - in the client's pod, which nobody else is in
"""The same as in `client_load.py`."""
OPERATOR = f"app.kubernetes.io/instance={RELEASE}"


def uids(kubectl: Kubectl, selector: str) -> dict[str, str]:
    """Return the uids of pods that stay, by name."""
    pods = kubectl.items("pods", "-l", selector)
    return {p["metadata"]["name"]: p["metadata"]["uid"] for p in pods if "deletionTimestamp" not in p["metadata"]}


def restarts(kubectl: Kubectl, pod: str) -> int:
    """Return how often the pod's container has started again; sidecars do not count."""
    count: int = kubectl.json("get", "pod", pod)["status"]["containerStatuses"][0]["restartCount"]
    return count


def running(kubectl: Kubectl) -> float:
    """Return how many requests run in the replicas of `chat` at this moment."""
    return sum(metric(kubectl, pod, "vllm:num_requests_running") for pod in uids(kubectl, REPLICAS))


def threads_begun(kubectl: Kubectl, kind: str) -> int:
    """Return how many threads of the client's load of a kind have sent a request, or have a token of their stream."""
    read = f"import pathlib as p; f = p.Path('{BEGUN}{kind}'); print(*f.read_text().split() if f.exists() else ())"
    return len(set(kubectl("exec", "client", "--", "python3", "-c", read).split()))


def forget_begun(kubectl: Kubectl) -> None:
    """Let the client's threads count anew."""
    kubectl("exec", "client", "--", "rm", "-f", *(f"{BEGUN}{kind}" for kind in ("streams", "completions", "chats")))


class Background:
    """Load that runs while something happens."""

    def __init__(self, load: Load, *arguments: object) -> None:
        self._result: dict[str, Any] = {}
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(load, arguments), daemon=True)
        self._thread.start()

    def _run(self, load: Load, arguments: tuple[object, ...]) -> None:
        try:
            self._result = load(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, `wait` raises it where the test sees it
            self._failure = error

    @property
    def over(self) -> bool:
        """Whether it has ended by itself."""
        return not self._thread.is_alive()

    def wait(self) -> dict[str, Any]:
        """Return what it found. Raises what it raised."""
        self._thread.join(LOAD_SECONDS)
        if self._failure:
            raise self._failure
        assert self.over, "the load in the client's pod does not end"
        return self._result


@contextmanager
def lasting_streams(
    kubectl: Kubectl, load: Load, *, url: str, model: str, count: int, tokens: int
) -> Iterator[Background]:
    """Keep `count` streams alive until the block ends; each thread begins a new one when its last has ended."""
    stop = "/tmp/stop-streams"  # noqa: S108 - in the client's pod, which nobody else is in
    kubectl("exec", "client", "--", "rm", "-f", stop)
    forget_begun(kubectl)
    streams = Background(load, "streams", url, model, count, tokens, stop)
    try:
        # By what the clients have: how many run at the moment of a question, while each ends and begins anew, is luck.
        eventually(
            lambda: streams.over or threads_begun(kubectl, "streams") >= count, f"{count} streams run", seconds=120
        )
        assert not streams.over, streams.wait()
        yield streams
    finally:
        kubectl("exec", "client", "--", "touch", stop)
