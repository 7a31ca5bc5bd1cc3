"""Starting and ending what is measured: the gateway as the operator renders it, and its peers."""

import contextlib
import os
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from e2e.bench.errors import BenchError
from e2e.bench.gateway.envoy import envoy_config
from e2e.bench.gateway.install import envoy_program, router_command
from e2e.bench.gateway.load import API_KEY
from e2e.bench.gateway.pinning import PROXY
from e2e.bench.gateway.stubs import ADDRESSES
from e2e.bench.gateway.subject import Subject
from e2e.gateway.local import MODEL, LocalGateway, end, local_gateway
from e2e.gateway.program import haproxy_command
from e2e.ports import free_ports
from gptoss_runtime.contract import OPENAI_PORT


GATEWAY, ROUTER, ENVOY, BARE, DIRECT = "gateway", "vllm-router", "envoy", "bare haproxy", "direct"
TIER = {
    "name": "bench",
    "priority": "High",
    "requestsPerSecond": 100000,
    "concurrentRequests": 100000,
    "tokensPerMinute": 2**40,
}
"""All limits are checked, and none is reached."""
NO_PROXY = {
    "https_proxy": "http://127.0.0.1:1",
    "HTTPS_PROXY": "http://127.0.0.1:1",
    "no_proxy": "127.0.0.0/8",
    "NO_PROXY": "127.0.0.0/8",
    "HF_HUB_OFFLINE": "1",
}
"""Peers reach nothing but this machine."""
START_SECONDS = 30.0
READY_ANSWERS = 8
"""In a row: two of each replica."""
QUESTION = f'{{"model":"{MODEL}","messages":[{{"role":"user","content":"hi"}}]}}'.encode()

Start = Callable[[], AbstractContextManager[Subject]]


@contextlib.contextmanager
def running_gateway() -> Iterator[tuple[Subject, LocalGateway]]:
    """Run the whole gateway with keys, limits, log, metrics and queue."""
    routing = {
        "gateway": {"replicas": 1},
        "apiKeys": {"secretName": "keys", "tiers": [TIER]},
        "limits": {"maxTokens": 100000, "maxChoices": 8},
    }
    with local_gateway(ADDRESSES, keys={"bench": f"{API_KEY} bench"}, prefix=PROXY, routing=routing) as gateway:
        subject = Subject(
            name=GATEWAY,
            address=gateway.address,
            port=gateway.port,
            pids=tuple(part.process.pid for part in gateway.parts.values()),
            proxy_pids=(gateway.parts["haproxy"].process.pid,),
            usage_port=_usage_port(gateway.parts["activator"].process.pid),
        )
        await_answers(subject)
        yield subject, gateway


@contextlib.contextmanager
def gateway() -> Iterator[Subject]:
    """Run the whole gateway."""
    with running_gateway() as (subject, _):
        yield subject


@contextlib.contextmanager
def direct() -> Iterator[Subject]:
    """Stand for no proxy at all: one of the replicas."""
    yield Subject(name=DIRECT, address=ADDRESSES[0], port=OPENAI_PORT)


def vllm_router(peers: Path) -> AbstractContextManager[Subject]:
    """Run vllm-router with its checks and retries as quick as it allows."""
    port, metrics_port = free_ports(2)
    options = {
        "host": "127.0.0.1",
        "port": port,
        "policy": "round_robin",
        "prometheus-port": metrics_port,
        "log-level": "error",
        "health-check-interval-secs": 1,
        "health-check-timeout-secs": 1,
        "health-failure-threshold": 1,
        "health-success-threshold": 1,
        "retry-max-retries": 5,
        "retry-initial-backoff-ms": 10,
        "retry-max-backoff-ms": 200,
        "cb-failure-threshold": 1,
        "cb-success-threshold": 1,
        "cb-timeout-duration-secs": 1,
        "max-concurrent-requests": 4096,
        "queue-size": 4096,
        "request-timeout-secs": 600,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    urls = [f"http://{replica}:{OPENAI_PORT}" for replica in ADDRESSES]
    return _process(ROUTER, [*router_command(peers), *words, "--worker-urls", *urls], port)


@contextlib.contextmanager
def envoy(peers: Path) -> Iterator[Subject]:
    """Run Envoy with the gateway's functions, and one worker."""
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="gptoss-bench-") as directory:
        config = Path(directory, "envoy.json")
        config.write_text(envoy_config(port=port, replicas=ADDRESSES, key=API_KEY, log=Path(directory, "access.log")))
        options = ["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error"]
        with _process(ENVOY, [str(envoy_program(peers)), "--config-path", str(config), *options], port) as subject:
            yield subject


@contextlib.contextmanager
def bare_haproxy() -> Iterator[Subject]:
    """Run the gateway's HAProxy with nothing but round robin: how much the gateway's functions cost."""
    (port,) = free_ports(1)
    servers = [f"  server s{number} {replica}:{OPENAI_PORT}" for number, replica in enumerate(ADDRESSES)]
    timeouts = [f"  timeout {name} 600s" for name in ("connect", "client", "server")]
    lines = ["global", "  nbthread 1", "defaults", "  mode http", *timeouts, "listen all", f"  bind 127.0.0.1:{port}"]
    with tempfile.TemporaryDirectory(prefix="gptoss-bench-") as directory:
        config = Path(directory, "haproxy.cfg")
        config.write_text(
            "\n".join([*lines, "  option http-no-delay", "  balance roundrobin", "  http-reuse always", *servers, ""])
        )
        with _process(BARE, [*haproxy_command(), "-db", "-f", str(config)], port) as subject:
            yield subject


def side_by_side(peers: Path) -> Mapping[str, Start]:
    """Return what starts each subject, by name."""
    return {
        DIRECT: direct,
        GATEWAY: gateway,
        ROUTER: lambda: vllm_router(peers),
        ENVOY: lambda: envoy(peers),
        BARE: bare_haproxy,
    }


def _usage_port(activator: int) -> int:
    """Return the port that the activator was told to take reports on."""
    environment = Path("/proc", str(activator), "environ").read_text().split("\0")
    return int(dict(entry.split("=", 1) for entry in environment if entry)["GPTOSS_USAGE_PORT"])


def await_answers(subject: Subject) -> None:
    """Wait until requests are answered, several in a row. Raises BenchError when they are not."""
    request = urllib.request.Request(
        f"http://{subject.address}:{subject.port}/v1/chat/completions",
        data=QUESTION,
        headers={"content-type": "application/json", "authorization": f"Bearer {API_KEY}"},
    )
    deadline = time.monotonic() + START_SECONDS
    answers, last = 0, "nothing"
    while answers < READY_ANSWERS:
        try:
            with urllib.request.urlopen(request, timeout=2):  # noqa: S310 - the same
                answers += 1
        except (urllib.error.URLError, OSError) as error:
            answers, last = 0, str(error)
            time.sleep(0.05)
        if time.monotonic() > deadline:
            raise BenchError(f"{subject.name} does not answer after {START_SECONDS:.0f} s: {last}")


@contextlib.contextmanager
def _process(name: str, command: Sequence[str], port: int) -> Iterator[Subject]:
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*PROXY, *command], env={**os.environ, **NO_PROXY}, stdout=output, stderr=subprocess.STDOUT
        )
        subject = Subject(name=name, address="127.0.0.1", port=port, pids=(process.pid,), proxy_pids=(process.pid,))
        try:
            await_answers(subject)
            yield subject
        except BenchError as error:
            output.seek(0)
            raise BenchError(f"{error}\n{output.read().decode(errors='replace')[-2000:]}") from error
        finally:
            end(process)
