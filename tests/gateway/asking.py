"""Clients as they usually are."""

import http.client
import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

from e2e.gateway.local import MODEL, LocalGateway
from tests.gateway.raw import Answer


PATIENCE_SECONDS = 20.0
LOOK_SECONDS = 0.02


def chat(text: str = "hi", **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Return the body of a chat request."""
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **fields}


def connection(gateway: LocalGateway) -> "closing[http.client.HTTPConnection]":
    """Return a connection that stays open between requests, and is closed in the end."""
    return closing(http.client.HTTPConnection(gateway.address, gateway.port, timeout=PATIENCE_SECONDS))


def ask_on(
    client: http.client.HTTPConnection, body: object, *, key: str = "", path: str = "/v1/chat/completions", **more: str
) -> Answer:
    """Send one request on an open connection, and return the whole answer."""
    headers = {"content-type": "application/json", **{name.replace("_", "-"): text for name, text in more.items()}}
    if key:
        headers["authorization"] = f"Bearer {key}"
    client.request("POST", path, json.dumps(body), headers)
    return read(client.getresponse())


def ask(gateway: LocalGateway, body: object, **more: str) -> Answer:
    """Send one request on a connection of its own, and return the whole answer."""
    with connection(gateway) as client:
        return ask_on(client, body, **more)


def ask_all(gateway: LocalGateway, bodies: Sequence[object], *, at_once: int = 16, **more: str) -> list[Answer]:
    """Send many requests from several clients, and return the answers in the order of the bodies."""
    with ThreadPoolExecutor(at_once) as threads:
        return list(threads.map(lambda body: ask(gateway, body, **more), bodies))


def read(response: http.client.HTTPResponse) -> Answer:
    """Return a whole answer."""
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(status=response.status, headers=headers, body=response.read())


@contextmanager
def stream(gateway: LocalGateway, text: str = "hi", **fields: Any) -> Iterator[http.client.HTTPResponse]:  # noqa: ANN401 - any JSON
    """Return a stream whose first event has come; the rest is the caller's to read."""
    with connection(gateway) as client:
        body = json.dumps(chat(text, stream=True, **fields))
        client.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        response = client.getresponse()
        with closing(response):
            yield response


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds; fail when it never does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(LOOK_SECONDS)


def page(url: str) -> str:
    """Return the text of a page."""
    with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:  # noqa: S310 - a URL of ours on loopback
        text: bytes = answer.read()
    return text.decode()


def haproxy_metric(gateway: LocalGateway, name: str, **labels: str) -> float:
    """Return one of HAProxy's own metrics."""
    wanted = ",".join(f'{label}="{value}"' for label, value in labels.items())
    text = page(f"http://{gateway.address}:{gateway.health_port}/metrics")
    found = re.search(rf"^{re.escape(name)}\{{{re.escape(wanted)}\}} (\S+)$", text, re.MULTILINE)
    assert found is not None, f"HAProxy has no {name}{{{wanted}}}"
    return float(found[1])


def queued(gateway: LocalGateway) -> int:
    """Return how many requests wait for a replica."""
    return int(haproxy_metric(gateway, "haproxy_backend_current_queue", proxy="replicas"))


def log_lines(gateway: LocalGateway) -> list[dict[str, Any]]:
    """Return the lines of requests that the activator wrote."""
    return [json.loads(line) for line in gateway.said("activator").splitlines() if line.startswith("{")]
