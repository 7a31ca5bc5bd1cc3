"""Starting and ending a gateway on the loopback interface, from the files that the operator renders."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.gateway.program import haproxy_command
from e2e.ports import free_ports
from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.core.observation import Owner
from gptoss_operator.core.render.haproxy.files import LONG_FILE, MAIN_FILE, ORDERS_FILE, gateway_files
from gptoss_operator.core.render.haproxy.places import Places
from gptoss_runtime.gateway_contract import Socket


OWNER = Owner(name="chat", namespace="demo", uid="local", generation=1)
MODEL = "openai/gpt-oss-20b"
START_SECONDS = 20.0
END_SECONDS = 10.0


class GatewayError(RuntimeError):
    """The gateway did not start or end; the message has what its parts said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process of the gateway."""

    name: str
    process: subprocess.Popen[bytes]
    output: Path
    """What it wrote: stdout and stderr."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalGateway:
    """A gateway that runs."""

    address: str
    """Loopback address of clients' port and of the activator's."""
    port: int
    health_port: int
    activator_port: int
    usage_port: int
    directory: Path
    """Its files, and the subdirectories `run`, `keys` and `tls`."""
    parts: Mapping[str, Part]
    """By name: `activator`, `long_prompts`, `haproxy`."""

    @property
    def url(self) -> str:
        """Base URL for OpenAI clients."""
        return f"http://{self.address}:{self.port}/v1"

    @property
    def run(self) -> Path:
        """The directory that a pod's containers share."""
        return self.directory / "run"

    def said(self, part: str) -> str:
        """Return what a part wrote so far."""
        return self.parts[part].output.read_text(errors="replace")


@contextlib.contextmanager
def local_gateway(
    replicas: Sequence[str],
    *,
    address: str = "127.0.0.1",
    keys: Mapping[str, str] | None = None,
    certificate: Mapping[str, str] | None = None,
    peers: str = "",
    usage_port: int | None = None,
    prefix: Sequence[str] = (),
    replaced: Mapping[str, str] | None = None,
    **spec: Any,  # noqa: ANN401 - a raw object of the API
) -> Iterator[LocalGateway]:
    """Run a gateway in front of `replicas` (loopback addresses whose ports are those of the contract) and end it.

    `keys` are the entries of the Secret with API keys, `certificate` those of the TLS Secret, `peers` a DNS name or
    address of all gateways, which then need the same `usage_port`. `prefix` goes before each command, such as
    `taskset -c 0`. `replaced` changes text in HAProxy's files that no spec can change, such as a time that a test
    cannot wait for. `spec` is that of a GptOssDeployment; the model is added. Raises GatewayError when a part does
    not start.
    """
    directory = Path(tempfile.mkdtemp(prefix="gptoss-gateway-"))
    port, health_port, activator_port, free_port = free_ports(4)
    usage_port = usage_port or free_port
    for name in ("run", "keys", "tls", "filter"):
        (directory / name).mkdir()
    write_secret(directory / "keys", keys or {})
    write_secret(directory / "tls", certificate or {})
    places = Places(
        bind=f"{address}:{port}",
        health_bind=f"{address}:{health_port}",
        run=str(directory / "run"),
        config=str(directory),
        tls=str(directory / "tls"),
        replicas=tuple(replicas),
    )
    parsed = GptOssSpec.model_validate({"model": {"name": "gpt-oss-20b"}, **spec})
    for name, text in gateway_files(OWNER, parsed, len(replicas), "cluster.local", places).items():
        for old, new in (replaced or {}).items():
            text = text.replace(old, new)  # noqa: PLW2901 - one change after the other
        (directory / name).write_text(text)
    if peers:
        orders = (directory / ORDERS_FILE).read_text()
        (directory / ORDERS_FILE).write_text(orders.replace("chat-gateways.demo.svc.cluster.local", peers))
    environment = {
        **os.environ,
        "GPTOSS_RUN_DIRECTORY": str(directory / "run"),
        "GPTOSS_KEYS_DIRECTORY": str(directory / "keys"),
        "GPTOSS_TLS_DIRECTORY": str(directory / "tls"),
        "GPTOSS_FILTER_DIRECTORY": str(directory / "filter"),
        "GPTOSS_ACTIVATOR_ADDRESS": address,
        "GPTOSS_ACTIVATOR_PORT": str(activator_port),
        "GPTOSS_USAGE_PORT": str(usage_port),
    }
    haproxy = [*prefix, *haproxy_command(), "-db", "-f"]
    activator = [*prefix, sys.executable, "-m", "gptoss_runtime.activator", str(directory / ORDERS_FILE)]
    parts: dict[str, Part] = {}
    gateway = LocalGateway(
        address=address,
        port=port,
        health_port=health_port,
        activator_port=activator_port,
        usage_port=usage_port,
        directory=directory,
        parts=parts,
    )
    try:
        parts["activator"] = _start("activator", activator, directory, environment)
        _await_page(gateway, "activator", f"http://{address}:{activator_port}/healthz")
        parts["long_prompts"] = _start("long_prompts", [*haproxy, str(directory / LONG_FILE)], directory, environment)
        _await_socket(gateway, "long_prompts", directory / "run" / Socket.LONG)
        parts["haproxy"] = _start("haproxy", [*haproxy, str(directory / MAIN_FILE)], directory, environment)
        _await_page(gateway, "haproxy", f"http://{address}:{health_port}/healthz")
        yield gateway
    finally:
        for part in reversed(parts.values()):
            end(part.process)
        shutil.rmtree(directory)


def write_secret(directory: Path, entries: Mapping[str, str]) -> None:
    """Write `entries` as kubelet mounts a Secret: files are links through `..data`, which is swapped as a whole."""
    data = Path(tempfile.mkdtemp(prefix="..", dir=directory))
    for name, text in entries.items():
        (data / name).write_text(text)
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(Path("..data") / name)
    new = directory / "..data_tmp"
    new.symlink_to(data.name)
    old = (directory / "..data").resolve() if (directory / "..data").exists() else None
    new.rename(directory / "..data")
    for path in directory.iterdir():
        if path.is_symlink() and path.name != "..data" and path.name not in entries:
            path.unlink()
    if old is not None:
        shutil.rmtree(old)


def end(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
    """End a process that we started, and wait for it."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _start(name: str, command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> Part:
    output = directory / f"{name}.out"
    with output.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    return Part(name=name, process=process, output=output)


def _await_page(gateway: LocalGateway, part: str, url: str) -> None:
    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - a URL of ours on loopback
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    _await(gateway, part, answers)


def _await_socket(gateway: LocalGateway, part: str, path: Path) -> None:
    def listens() -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(os.fspath(path)) == 0

    _await(gateway, part, listens)


def _await(gateway: LocalGateway, part: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not holds():
        if gateway.parts[part].process.poll() is not None or time.monotonic() > deadline:
            raise GatewayError(f"{part} did not start:\n{gateway.said(part)}")
        time.sleep(0.02)
