"""The detour in a whole gateway: the operator's files, the real HAProxy and activator, OpenAI's client."""

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from openai import APIError, BadRequestError, OpenAI

from e2e.gateway.local import MODEL, LocalGateway, local_gateway
from e2e.gateway.replicas import simulated_replicas


ADDRESS = "127.0.43.1"
REPLICAS = ("127.0.43.11", "127.0.43.12")
PATIENCE_SECONDS = 30.0
CACHE: dict[str, Any] = {"routing": {"cache": {"maxMegabytes": 1}}}


@contextmanager
def client_of(gateway: LocalGateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=gateway.url, api_key="none", max_retries=0, timeout=PATIENCE_SECONDS) as client:
        yield client


def ask(client: OpenAI, prompt: str = "2+2?") -> tuple[str | None, str | None]:
    """Return what the cache did, and the answer."""
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=[{"role": "user", "content": prompt}], temperature=0
    )
    hidden = {"x-gptoss-replica", "x-gptoss-queue-ms"} & {name.lower() for name in raw.headers}
    assert hidden == set()
    return raw.headers.get("x-gptoss-cache"), raw.parse().choices[0].message.content


def stream(client: OpenAI, prompt: str = "2+2?") -> list[str]:
    chunks = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": prompt}], seed=1, stream=True
    )
    return [chunk.choices[0].delta.content or "" for chunk in chunks]


def until(holds: Callable[[], bool], gateway: LocalGateway) -> None:
    """Wait for what another process does, which cannot tell us by itself."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, gateway.said("activator")
        time.sleep(0.02)


def logged(gateway: LocalGateway, name: str) -> list[str]:
    """Return a field of the log's lines that have it, by time: they wait for the tokens of their request."""
    lines = [json.loads(line) for line in gateway.said("activator").splitlines() if line.startswith("{")]
    lines.sort(key=lambda line: str(line["time"]))
    return [line[name] for line in lines if line.get(name)]


@dataclass
class Judge:
    """A moderation model that refuses texts with one of its words."""

    url: str = ""
    words: set[str] = field(default_factory=lambda: {"forbidden"})


@pytest.fixture
def judge() -> Iterator[Judge]:
    judge = Judge()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["content-length"])))
            text = question["messages"][1]["content"]
            verdict = "1" if any(word in text for word in judge.words) else "0"
            body = json.dumps({"choices": [{"message": {"content": verdict}}]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((ADDRESS, 0), Handler) as server:
        judge.url = f"http://{ADDRESS}:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield judge
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("prompt", ["2+2?", "long " * 20_000], ids=["short", "long"])
def test_answers_and_streams_come_from_the_cache(prompt: str) -> None:
    with (
        simulated_replicas(REPLICAS[:1]) as [replica],
        local_gateway(REPLICAS[:1], address=ADDRESS, **CACHE) as gateway,
    ):
        with client_of(gateway) as client:
            assert [ask(client, prompt) for _ in range(2)] == [
                (result, f"from {REPLICAS[0]}") for result in ("miss", "hit")
            ]
            first, second = stream(client, prompt), stream(client, prompt)
            assert first == second
            assert replica.seen()["requests"] == 2

        until(lambda: logged(gateway, "cache") == ["miss", "hit"] * 2, gateway)


def test_a_replica_that_is_lost_in_prefill_is_made_up_for() -> None:
    with simulated_replicas(REPLICAS) as replicas, local_gateway(REPLICAS, address=ADDRESS, **CACHE) as gateway:
        for replica in replicas:
            replica.set(first_token_seconds=PATIENCE_SECONDS)
        with client_of(gateway) as client, ThreadPoolExecutor() as pool:
            asking = pool.submit(ask, client)
            until(lambda: any(replica.seen()["running"] for replica in replicas), gateway)
            lost = next(replica for replica in replicas if replica.seen()["running"])
            left = next(replica for replica in replicas if replica is not lost)
            left.set(first_token_seconds=0.0)
            lost.kill()
            assert asking.result() == ("miss", f"from {left.address}")


def test_what_no_replica_takes_is_held() -> None:
    with local_gateway(REPLICAS[:1], address=ADDRESS, **CACHE) as gateway, client_of(gateway) as client:
        with ThreadPoolExecutor() as pool:
            asking = pool.submit(ask, client)
            until(lambda: _held(gateway) == 1, gateway)
            with simulated_replicas(REPLICAS[:1]):
                assert asking.result() == ("miss", f"from {REPLICAS[0]}")
        # From the cache, although there is no replica any more.
        assert ask(client) == ("hit", f"from {REPLICAS[0]}")


def _held(gateway: LocalGateway) -> int:
    with urllib.request.urlopen(f"http://{ADDRESS}:{gateway.activator_port}/state", timeout=5) as answer:
        return int(json.loads(answer.read())["gauges"].get("held", 0))


def test_a_stream_that_breaks_off_is_an_error_each_time() -> None:
    with (
        simulated_replicas(REPLICAS[:1]) as [replica],
        local_gateway(REPLICAS[:1], address=ADDRESS, **CACHE) as gateway,
        client_of(gateway) as client,
    ):
        for _ in range(2):
            with pytest.raises(APIError, match="the replica was lost"):
                stream(client, "die")
        assert replica.seen()["requests"] == 2


def test_the_content_filter_refuses_prompts_and_answers(judge: Judge) -> None:
    content_filter = {"url": judge.url, "model": "safeguard", "policy": "Say 0 or 1.", "stage": "Both"}
    spec: dict[str, Any] = {"routing": {"contentFilter": content_filter, **CACHE["routing"]}}
    with (
        simulated_replicas(REPLICAS[:1]) as [replica],
        local_gateway(REPLICAS[:1], address=ADDRESS, **spec) as gateway,
        client_of(gateway) as client,
    ):
        for prompt in ("forbidden", "forbidden " * 10_000):
            with pytest.raises(BadRequestError) as refused:
                ask(client, prompt)
            assert (refused.value.code, refused.value.param) == ("content_filter", "messages")
        assert replica.seen()["requests"] == 0
        assert [ask(client) for _ in range(2)] == [(result, f"from {REPLICAS[0]}") for result in ("miss", "hit")]
        assert stream(client)[0] == f"0 from {REPLICAS[0]} "
        judge.words.add(f"from {REPLICAS[0]}")
        with pytest.raises(BadRequestError, match="the answer was refused"):
            ask(client, "new")
        with pytest.raises(APIError, match="the answer was refused"):
            stream(client, "new")
        until(lambda: logged(gateway, "code") == ["content_filter"] * 3, gateway)
