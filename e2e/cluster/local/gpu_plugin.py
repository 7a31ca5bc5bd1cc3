"""Simulated GPUs: a device plugin that offers `nvidia.com/gpu` where there is none. Everything it says names it so.

`--unhealthy FILE` lists, one on each line, the GPUs that are to be unhealthy now; the file is looked at every second.
"""

import argparse
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from e2e.cluster.local import gpu_messages as messages
from e2e.cluster.provider import GPU_RESOURCE


LOOK_SECONDS = 1.0
SOCKET = "gptoss-simulated-gpu.sock"
KUBELET = "kubelet.sock"
VARIABLE = "GPTOSS_SIMULATED_GPUS"
"""Environment variable of a container: the simulated GPUs that it was given."""
PLUGIN_SERVICE = "v1beta1.DevicePlugin"
REGISTER = "/v1beta1.Registration/Register"
STREAMS = 8
"""One for each stream of a kubelet, also of one that has ended without our noticing yet, and some for its questions."""


def gpu_names(count: int) -> list[str]:
    """Return the simulated GPUs' names."""
    return [f"simulated-gpu-{number}" for number in range(count)]


class Gpus:
    """The GPUs and their health, as the kubelet is told."""

    def __init__(self, names: list[str], unhealthy_file: Path) -> None:
        self._names = names
        self._file = unhealthy_file
        self._changed = threading.Condition()
        self._health = self._read()

    def _read(self) -> dict[str, bool]:
        unhealthy = set(self._file.read_text().split()) if self._file.exists() else set()
        return {name: name not in unhealthy for name in self._names}

    def look(self) -> None:
        """Read the file again, and wake who waits for a change."""
        health = self._read()
        with self._changed:
            if health != self._health:
                self._health = health
                self._changed.notify_all()
                bad = [name for name, healthy in health.items() if not healthy]
                print(f"simulated GPUs: unhealthy now: {', '.join(bad) or 'none'}", flush=True)

    def watch(self, is_wanted: Callable[[], bool]) -> Iterator[bytes]:
        """Yield the list of devices now and after each change, as long as somebody wants it."""
        told: dict[str, bool] | None = None
        while is_wanted():
            with self._changed:
                if self._health == told:
                    self._changed.wait(LOOK_SECONDS)
                    continue
                told = self._health
            yield messages.device_list(told)


def allocate(request: bytes, _: grpc.ServicerContext) -> bytes:
    """Give containers their GPUs, which is only a variable that names them."""
    given = messages.allocated_devices(request)
    print(f"simulated GPUs: given to containers: {given}", flush=True)
    return messages.allocate_response({VARIABLE: ",".join(devices)} for devices in given)


def handlers(gpus: Gpus) -> grpc.GenericRpcHandler:
    """Return the device plugin's methods. Requests and answers are bytes: `gpu_messages` knows their form."""
    return grpc.method_handlers_generic_handler(
        PLUGIN_SERVICE,
        {
            "GetDevicePluginOptions": grpc.unary_unary_rpc_method_handler(lambda _request, _context: b""),
            "ListAndWatch": grpc.unary_stream_rpc_method_handler(
                lambda _request, context: gpus.watch(context.is_active)
            ),
            "Allocate": grpc.unary_unary_rpc_method_handler(allocate),
        },
    )


def serve(socket: Path, gpus: Gpus) -> grpc.Server:
    """Serve on a socket, in place of one that an earlier plugin or kubelet left or removed."""
    socket.unlink(missing_ok=True)
    server = grpc.server(ThreadPoolExecutor(max_workers=STREAMS))
    server.add_generic_rpc_handlers((handlers(gpus),))
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    return server


def register(kubelet: Path, socket: Path) -> None:
    """Tell the kubelet of the plugin. Raises `grpc.RpcError` when it does not listen."""
    with grpc.insecure_channel(f"unix:{kubelet}") as channel:
        call = channel.unary_unary(REGISTER)
        call(messages.register_request(socket.name, GPU_RESOURCE), timeout=5)


def identity(path: Path) -> tuple[int, int, int] | None:
    """Return what tells a socket from another one under the same name, or None when there is none."""
    try:
        stat = os.stat(path)  # noqa: PTH116  # the pathlib form is the same call
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_ctime_ns


def run(directory: Path, gpus: Gpus) -> None:
    """Offer the GPUs to the kubelet, and again to each kubelet that takes its place, until this process is ended."""
    directory.mkdir(parents=True, exist_ok=True)
    server: grpc.Server | None = None
    registered: tuple[int, int, int] | None = None
    pause = threading.Event()
    while not pause.wait(LOOK_SECONDS if registered else LOOK_SECONDS / 10):
        gpus.look()
        found = identity(directory / KUBELET)
        if found is None or found == registered:
            continue
        if server is not None:
            server.stop(grace=None)
        # A kubelet empties the directory when it starts, so the socket has to be made after the kubelet's own.
        server = serve(directory / SOCKET, gpus)
        try:
            register(directory / KUBELET, directory / SOCKET)
        except grpc.RpcError as error:
            print(f"simulated GPUs: the kubelet does not take them yet: {error}", flush=True)
            continue
        registered = found
        print(f"simulated GPUs: offered to the kubelet as {GPU_RESOURCE}", flush=True)


def main() -> None:
    """Run with the command line's directory, file and number of GPUs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--unhealthy", type=Path, required=True)
    parser.add_argument("--count", type=int, default=8)
    arguments = parser.parse_args()
    run(arguments.directory, Gpus(gpu_names(arguments.count), arguments.unhealthy))


if __name__ == "__main__":
    main()
