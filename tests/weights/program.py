"""Running gptoss-fetch as a pod would."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from e2e.model import ensure_model
from gptoss_runtime.orders import WEIGHTS_ENV, WeightsOrder


BOUND_SECONDS = 50.0
JUNK = {
    "README.md": b"# A model",
    "original/model.safetensors": b"o" * 1000,
    "metal/model.bin": b"m" * 1000,
    "pytorch_model.bin": b"p" * 1000,
    "model-q4.gguf": b"g" * 1000,
    "picture.png": b"i" * 1000,
    ".gitattributes": b"a" * 10,
}
"""What repositories hold beside what vLLM needs."""


@cache
def tiny_model() -> dict[str, bytes]:
    """Return the files of the tiny test model."""
    return {path.name: path.read_bytes() for path in sorted(ensure_model().iterdir())}


@cache
def tiny_sums() -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in tiny_model().items()}


def sums_in(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of the files that vLLM would see."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.iterdir())
        if not path.name.startswith(".")
    }


@dataclass(frozen=True)
class Ended:
    """What a run came to."""

    status: int
    lines: list[str]

    @property
    def reason(self) -> str:
        return self.lines[-1]


@contextmanager
def running(order: WeightsOrder | None, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run the program with an environment of its own, so that no proxy and no token of this machine is used.

    It is killed when the body ends, unless it has ended.
    """
    clean = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GPTOSS_TERMINATION_LOG": "/dev/null"}
    if order is not None:
        clean[WEIGHTS_ENV] = order.encode()
    command = [sys.executable, "-m", "gptoss_runtime.weights"]
    with subprocess.Popen(command, env=clean | environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def end_of(process: subprocess.Popen[str]) -> Ended:
    """Wait for the end of a run, which is killed when it takes too long."""
    try:
        _, said = process.communicate(timeout=BOUND_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        _, said = process.communicate()
        raise AssertionError(f"has not ended: {said}") from None
    return Ended(status=process.returncode, lines=said.splitlines())


def fetch(order: WeightsOrder | None, **environment: str) -> Ended:
    with running(order, **environment) as process:
        return end_of(process)
