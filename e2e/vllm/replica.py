"""Starting gptoss-server over real vLLM, and vLLM alone, in the room; asking them, and ending them."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.bench.processes import with_children
from e2e.images.commands import last_lines
from e2e.ports import free_ports
from e2e.vllm.room import SERVER_MODEL, SERVER_SCRATCH, Program, Room
from gptoss_runtime.contract import TRAFFIC_FILE, ReplicaState
from gptoss_runtime.orders import SERVER_ENV, ServerOrders
from gptoss_runtime.server.args import Command, ModelDirectory, PodFacts, plan_command


HOST = "127.0.0.1"
MODEL_NAME = "openai/gpt-oss-20b"
START_SECONDS = 300.0
"""Bound of a start, which takes 30 to 60 s where the machine is not busy."""
ANSWER_SECONDS = 5.0
LOOK_AGAIN_SECONDS = 0.05
TERMINATION_LOG = "termination-log"
CPU_ENVIRONMENT = {
    # vLLM binds its worker to the first CPU of the machine; two servers would share that one.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}


class ServerError(RuntimeError):
    """A server did not start; the message has the end of what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that runs in the room: vLLM alone, or below gptoss-server."""

    program: Program
    base: Path
    """Directory of what it takes and leaves; removed at its end."""
    openai_port: int

    def said(self) -> str:
        """Return what it wrote so far."""
        return (self.base / "output").read_text(errors="replace")

    def engine_pid(self) -> int:
        """Return the process of vLLM's engine, of this server's own descendants."""
        for pid in with_children([self.program.pid]):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if Path("/proc", str(pid), "comm").read_text().startswith("VLLM::EngineCor"):
                    return pid
        raise ServerError(f"No process of this server is vLLM's engine. It said:\n{last_lines(self.base / 'output')}")

    def await_page(self, port: int, path: str, *, seconds: float = START_SECONDS) -> None:
        """Wait until a page answers with 200. Raises ServerError when the server ends, or when `seconds` are over."""
        deadline = time.monotonic() + seconds
        while ask(port, path)[0] != http.client.OK:
            ended = self.program.exit_status is not None
            if ended or time.monotonic() > deadline:
                what = f"ended with {self.program.exit_status}" if ended else f"has no {path} after {seconds:.0f} s"
                raise ServerError(f"the server {what}. It said:\n{last_lines(self.base / 'output')}")
            time.sleep(LOOK_AGAIN_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica(Server):
    """A gptoss-server that runs."""

    health_port: int
    agent_port: int

    def await_ready(self) -> None:
        """Wait until it says that it is ready. Raises ServerError."""
        self.await_page(self.health_port, "/readyz")

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text of a page of the health port."""
        return ask(self.health_port, path)

    def state(self) -> ReplicaState:
        """Return the state document. Raises ContractError."""
        return ReplicaState.decode(self.get("/state")[1])

    def agent(self) -> str:
        """Return what HAProxy hears now; empty when nobody answers."""
        try:
            with socket.create_connection((HOST, self.agent_port), timeout=ANSWER_SECONDS) as connection:
                return connection.makefile().readline()
        except OSError:
            return ""

    def let_in(self, word: str) -> None:
        """Say what a rollout grants it: closed, open, or a share in percent."""
        (self.base / "scratch" / TRAFFIC_FILE).write_text(word)

    def await_state(self, wanted: Callable[[ReplicaState], bool], *, seconds: float = START_SECONDS) -> ReplicaState:
        """Return the first state that is wanted. Raises ServerError when the server ends, or `seconds` are over."""
        self.await_page(self.health_port, "/state", seconds=seconds)
        deadline = time.monotonic() + seconds
        while not wanted(state := self.state()):
            if self.program.exit_status is not None or time.monotonic() > deadline:
                raise ServerError(f"the server is {state}. It said:\n{last_lines(self.base / 'output')}")
            time.sleep(LOOK_AGAIN_SECONDS)
        return state

    def message(self) -> str:
        """Return the termination message; empty while there is none."""
        path = self.base / "scratch" / TERMINATION_LOG
        return path.read_text() if path.exists() else ""


def ask(port: int, path: str) -> tuple[int, str]:
    """Return status and text of a page; status 0 when nobody answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def an_order(**changes: object) -> ServerOrders:
    """Return orders for the tiny model in the room."""
    base: dict[str, object] = {
        "model": str(SERVER_MODEL),
        "served_names": (MODEL_NAME,),
        "max_model_len": 4096,
        "max_num_seqs": 32,
        "endpoint_grace_seconds": 0,
    }
    return ServerOrders(**{**base, **changes})  # type: ignore[arg-type]


@contextlib.contextmanager
def started_replica(room: Room, orders: ServerOrders, **environment: str) -> Iterator[Replica]:
    """Start gptoss-server for `orders`, without waiting for it; afterwards nothing of it is left."""
    openai_port, health_port, agent_port = free_ports(3)
    changes = {
        **CPU_ENVIRONMENT,
        SERVER_ENV: orders.encode(),
        "GPTOSS_OPENAI_PORT": str(openai_port),
        "GPTOSS_HEALTH_PORT": str(health_port),
        "GPTOSS_AGENT_PORT": str(agent_port),
        "GPTOSS_TERMINATION_LOG": str(SERVER_SCRATCH / TERMINATION_LOG),
        "GPTOSS_TRAFFIC_FILE": str(SERVER_SCRATCH / TRAFFIC_FILE),
        "GPTOSS_WARM_UP_SECONDS": "0",
        **environment,
    }
    with _running(room, ["gptoss-server"], changes) as (program, base):
        yield Replica(
            program=program, base=base, openai_port=openai_port, health_port=health_port, agent_port=agent_port
        )


@contextlib.contextmanager
def running_replica(room: Room, orders: ServerOrders, **environment: str) -> Iterator[Replica]:
    """Start gptoss-server for `orders` and wait until it is ready. Raises ServerError."""
    with started_replica(room, orders, **environment) as replica:
        replica.await_ready()
        yield replica


@contextlib.contextmanager
def started_plain(room: Room, orders: ServerOrders) -> Iterator[Server]:
    """Start `vllm serve` with the flags and the environment that gptoss-server would start it with for `orders`.

    Only the middleware is left out, and nobody asks it for anything.
    """
    (port,) = free_ports(1)
    command = planned(room, orders, port)
    with _running(room, ["vllm", "serve", *without_middleware(command.arguments)], command.environment) as running:
        program, base = running
        yield Server(program=program, base=base, openai_port=port)


def planned(room: Room, orders: ServerOrders, port: int) -> Command:
    """Return how gptoss-server would start vLLM in the room. Raises BadOrdersError."""
    return plan_command(
        orders,
        PodFacts(
            model_directory=ModelDirectory(exists=True, has_config=True),
            device="cpu",
            allowed_cpus=tuple(sorted(os.sched_getaffinity(0))),
            environment=room.environment(CPU_ENVIRONMENT),
            openai_port=port,
        ),
    )


def without_middleware(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without our part inside vLLM."""
    at = arguments.index("--middleware")
    return [*arguments[:at], *arguments[at + 2 :]]


@contextlib.contextmanager
def _running(room: Room, program: Sequence[str], environment: Mapping[str, str]) -> Iterator[tuple[Program, Path]]:
    with tempfile.TemporaryDirectory(prefix="gptoss-room-") as directory:
        base = Path(directory)
        with (base / "output").open("wb") as output:
            running = Program.start(room, program, base, output, environment)
        try:
            yield running, base
        except AssertionError as error:
            error.add_note(f"The server said last:\n{last_lines(base / 'output')}")
            raise
        finally:
            running.end()


def stop(server: Server, *, seconds: float) -> int:
    """Send SIGTERM and return the exit status. Raises ServerError when it is not gone after `seconds`."""
    server.program.signal(signal.SIGTERM)
    try:
        return server.program.wait(seconds)
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"the server still runs {seconds:.0f} s after SIGTERM") from error
