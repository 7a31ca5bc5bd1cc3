"""A replica dies at once, with all that it holds in memory, under load."""

from e2e.children import eventually
from e2e.gateways import requests_logged
from e2e.kubectl import Kubectl
from e2e.processes import kill_in_pod
from e2e.scenarios.conftest import MODEL, START_SECONDS, URL, Load
from e2e.scenarios.pods import REPLICAS, Background, lasting_streams, restarts, threads_begun, uids
from e2e.watch import settled, until


STREAMS = 8
TOKENS = 200
THREADS = 4
LOAD_SECONDS = 60
LARGEST = 100_000


def broken(kubectl: Kubectl) -> list[str]:
    """Return the requests in the log that lost their replica."""
    return [line["id"] for line in requests_logged(kubectl, "chat") if line["ended"] == "replica_lost"]


def test_requests_without_a_token_are_answered_and_streams_say_what_happened(chat: Kubectl, load: Load) -> None:
    chat("scale", "gptoss", "chat", "--replicas=2")
    until(chat, "chat", settled, timeout_seconds=START_SECONDS, show=False)
    broken_before = len(broken(chat))
    with lasting_streams(chat, load, url=URL, model=MODEL, count=STREAMS, tokens=TOKENS) as streams:
        requests = Background(load, "completions", URL, MODEL, 2000, LOAD_SECONDS, THREADS, LARGEST)
        eventually(lambda: threads_begun(chat, "completions") >= THREADS, "streams and other requests run", seconds=60)
        name, uid = next(iter(uids(chat, REPLICAS).items()))
        before = restarts(chat, name)
        kill_in_pod(uid, "-m gptoss_runtime.server")
        result = requests.wait()
    assert result["errors"] == []
    assert result["answered"] > THREADS
    ends = streams.wait()["finished"]
    lost = ends.count("error: replica_lost")
    assert 0 < lost < STREAMS
    assert ends.count("length") == len(ends) - lost
    eventually(lambda: restarts(chat, name) > before, "the container starts again", seconds=60)
    assert len(broken(chat)) - broken_before == lost
    until(chat, "chat", settled, timeout_seconds=START_SECONDS, show=False)
