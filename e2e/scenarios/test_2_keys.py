"""API keys: who has none is refused, and keys come and go while requests run."""

import hashlib
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus

import pytest
from openai import AuthenticationError, OpenAI, Stream
from openai.types import Completion

from e2e.children import eventually
from e2e.gateways import gateway_pods
from e2e.kubectl import Kubectl
from e2e.model import ANSWER_TEXT
from e2e.scenarios.conftest import MODEL, URL, Load
from e2e.scenarios.test_1_logs import logged
from e2e.watch import condition, settled, until
from gptoss_runtime.gateway_contract import GATEWAY_PORT


SECRET = "chat-keys"  # noqa: S105 - its name
PLAIN, HASHED, LATER = "plain-key-0123456789", "hashed-key-0123456789", "later-key-0123456789"
ROLL_SECONDS = 240
KEY_SECONDS = 10
"""The bound that users are promised."""
REQUESTS = 40
LONG = 4000
"""Tokens of a stream that outlasts changes of keys."""


def apply_keys(kubectl: Kubectl, **tenants: str) -> None:
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "type": "Opaque", "stringData": tenants}
    )


def ask_for_keys(kubectl: Kubectl, wanted: dict[str, str] | None) -> None:
    """Set spec.routing.apiKeys, and wait until no gateway pod answers as before."""
    patch = json.dumps({"spec": {"routing": {"apiKeys": wanted}}})
    kubectl("patch", "gptoss", "chat", "--type=merge", "-p", patch)
    until(kubectl, "chat", settled, timeout_seconds=ROLL_SECONDS, show=False)


@pytest.fixture(scope="module")
def keyed(chat: Kubectl) -> Iterator[Kubectl]:
    """The deployment `chat` asks for keys: `ada` has one in plain text, `bob` one as its hash."""
    apply_keys(chat, ada=f"{PLAIN}\n", bob=f"sha256:{hashlib.sha256(HASHED.encode()).hexdigest()}\n")
    ask_for_keys(chat, {"secretName": SECRET})
    yield chat
    ask_for_keys(chat, None)
    chat("delete", "secret", SECRET)


@contextmanager
def clients(kubectl: Kubectl, key: str) -> Iterator[list[OpenAI]]:
    """Yield a client of each gateway pod."""
    with ExitStack() as opened:
        ports = [
            opened.enter_context(kubectl.forwarded(f"pod/{pod}", GATEWAY_PORT)) for pod in gateway_pods(kubectl, "chat")
        ]
        yield [
            opened.enter_context(
                OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, timeout=120, max_retries=0)
            )
            for port in ports
        ]


def accepts(client: OpenAI, key: str) -> bool:
    try:
        client.with_options(api_key=key).models.list()
    except AuthenticationError:
        return False
    return True


def test_once_settled_nobody_gets_in_without_a_key(keyed: Kubectl, load: Load) -> None:
    """Also not by a gateway that leaves: the requests go through the Service, at once."""
    assert condition(keyed.json("get", "gptoss", "chat"), "Progressing")["reason"] == "Settled"
    result = load("completions", URL, MODEL, REQUESTS, 60, 4)
    assert result["answered"] == 0
    assert {error[:3] for error in result["errors"]} == {"401"}


def test_only_keys_of_the_secret_open_the_door(keyed: Kubectl) -> None:
    with clients(keyed, PLAIN) as gateways:
        for client in gateways:
            assert (
                client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hello"}])
                .choices[0]
                .message.content
                == ANSWER_TEXT
            )
            assert accepts(client, HASHED)
            with pytest.raises(AuthenticationError) as refused:
                client.with_options(api_key="wrong-key-0123456789").models.list()
            assert refused.value.code == "invalid_api_key"
            link = http.client.HTTPConnection("127.0.0.1", client.base_url.port, timeout=20)
            link.request("GET", "/v1/models")
            assert link.getresponse().status == HTTPStatus.UNAUTHORIZED
            link.close()


def test_a_client_cannot_say_who_it_is(keyed: Kubectl) -> None:
    with clients(keyed, HASHED) as (client, *_):
        answer = client.completions.with_raw_response.create(
            model=MODEL, prompt="Hello", max_tokens=4, extra_headers={"x-gptoss-tenant": "ada"}
        )
    line = logged(keyed, answer.headers["x-request-id"])
    assert line["tenant"] == "bob"
    assert line["tokens_out"] == 4


class Reader:
    """A stream that is read as it comes, until it is told to stop."""

    def __init__(self, stream: Stream[Completion]) -> None:
        self.chunks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: Stream[Completion]) -> None:
        with stream:
            for _ in stream:
                self.chunks += 1
                if self._stop.is_set():
                    return

    def goes_on(self) -> None:
        """Wait for further chunks. Raises AssertionError when there are none."""
        seen = self.chunks
        eventually(lambda: self.chunks > seen, "the stream goes on")

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)


def test_keys_come_and_go_while_a_stream_goes_on(keyed: Kubectl) -> None:
    with clients(keyed, PLAIN) as gateways:
        stream = Reader(
            gateways[0].completions.create(
                model=MODEL, prompt="Hello", max_tokens=LONG, stream=True, extra_body={"min_tokens": LONG}
            )
        )
        stream.goes_on()
        apply_keys(keyed, cay=LATER)
        eventually(lambda: all(accepts(client, LATER) for client in gateways), "a new key opens", seconds=KEY_SECONDS)
        keyed("patch", "secret", SECRET, "--type=merge", "-p", json.dumps({"data": {"cay": None, "ada": None}}))
        eventually(
            lambda: not any(accepts(client, key) for client in gateways for key in (LATER, PLAIN)),
            "removed keys are refused",
            seconds=KEY_SECONDS,
        )
        assert all(accepts(client, HASHED) for client in gateways)
        # It began with a key that is gone by now.
        stream.goes_on()
        stream.stop()
