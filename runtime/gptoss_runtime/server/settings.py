"""What the environment says to `gptoss-server`."""

import os
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from gptoss_runtime.contract import (
    AGENT_PORT,
    HEALTH_PORT,
    OPENAI_PORT,
    POD_DIRECTORY,
    TERMINATION_LOG,
    TERMINATION_LOG_ENV,
    TRAFFIC_FILE,
    ContractError,
)
from gptoss_runtime.engine_options import EngineOptions, Speculation
from gptoss_runtime.model.gpus import GpuFacts
from gptoss_runtime.orders import SERVER_ENV, ServerOrders, WeightsOrder
from gptoss_runtime.server.args import ModelDirectory, PodFacts, is_directory
from gptoss_runtime.server.drain import KILL_AFTER_SECONDS
from gptoss_runtime.server.golden_rounds import AGAIN_SECONDS
from gptoss_runtime.server.installed import known_variables, vllm_version
from gptoss_runtime.server.sharing import WARM_UP_SECONDS


FETCH_COMMAND = (sys.executable, "-m", "gptoss_runtime.weights")
"""Program that fetches the weights of `WEIGHTS_ENV`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where things are. The defaults are those of the contract; tests set other ports."""

    openai_port: int = OPENAI_PORT
    health_port: int = HEALTH_PORT
    agent_port: int = AGENT_PORT
    termination_log: Path = Path(TERMINATION_LOG)
    traffic_file: Path = Path(POD_DIRECTORY, TRAFFIC_FILE)
    """Says whether the replica gets requests."""
    vllm_command: tuple[str, ...] = ("vllm", "serve")
    """Program that takes the arguments of `vllm serve`."""
    fetch_command: tuple[str, ...] = FETCH_COMMAND
    kill_after_seconds: int = int(KILL_AFTER_SECONDS)
    """From vLLM's SIGTERM to SIGKILL."""
    warm_up_seconds: int = WARM_UP_SECONDS
    """From ready to the full capacity. Zero grants it at once."""
    again_seconds: int = AGAIN_SECONDS
    """Between two rounds of golden prompts while a rollout watches the replica."""


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings in `environment`. Raises ContractError where a number is none."""
    return Settings(
        openai_port=_number(environment, "GPTOSS_OPENAI_PORT", OPENAI_PORT),
        health_port=_number(environment, "GPTOSS_HEALTH_PORT", HEALTH_PORT),
        agent_port=_number(environment, "GPTOSS_AGENT_PORT", AGENT_PORT),
        termination_log=Path(environment.get(TERMINATION_LOG_ENV, TERMINATION_LOG)),
        traffic_file=Path(environment.get("GPTOSS_TRAFFIC_FILE", f"{POD_DIRECTORY}/{TRAFFIC_FILE}")),
        vllm_command=tuple(shlex.split(environment.get("GPTOSS_VLLM_COMMAND", "vllm serve"))),
        fetch_command=tuple(shlex.split(environment.get("GPTOSS_FETCH_COMMAND", ""))) or FETCH_COMMAND,
        kill_after_seconds=_number(environment, "GPTOSS_KILL_AFTER_SECONDS", int(KILL_AFTER_SECONDS)),
        warm_up_seconds=_number(environment, "GPTOSS_WARM_UP_SECONDS", WARM_UP_SECONDS, least=0),
        again_seconds=_number(environment, "GPTOSS_AGAIN_SECONDS", AGAIN_SECONDS),
    )


def read_orders(environment: Mapping[str, str]) -> ServerOrders:
    """Return the orders in `environment`. Raises ContractError."""
    text = environment.get(SERVER_ENV)
    if not text:
        raise ContractError(f"{SERVER_ENV} is not set: it holds the server's orders as JSON; the operator writes it")
    orders = ServerOrders.decode(text)
    for name in ("served_names", "extra_args", "built_in_prompts", "golden_prompts"):
        if not isinstance(getattr(orders, name), tuple):
            raise ContractError(f"server orders: {name} must be a list, not {getattr(orders, name)!r}")
    weights = WeightsOrder(source="", directory="") if orders.weights is None else orders.weights
    objects: tuple[tuple[str, object, type], ...] = (
        ("engine", orders.engine, EngineOptions),
        ("weights", weights, WeightsOrder),
    )
    for name, found, kind in objects:
        if not isinstance(found, kind):
            raise ContractError(f"server orders: {name} must be an object, not {found!r}")
    texts = {
        "model": (orders.model,),
        "revision": (orders.revision,),
        "compile_cache": (orders.compile_cache,),
        "weights": astuple(weights),
    }
    for name, values in {**texts, "served_names": orders.served_names, "extra_args": orders.extra_args}.items():
        for value in values:
            if not isinstance(value, str):
                raise ContractError(f"server orders: {name} must be text, not {value!r}")
    return orders


def read_facts(
    orders: ServerOrders,
    settings: Settings,
    environment: Mapping[str, str],
    gpus: Sequence[GpuFacts] = (),
) -> PodFacts:
    """Return what is to be known of this pod with these GPUs, from its file system, its environment, and the kernel."""
    return PodFacts(
        model_directory=_look_at(orders.model) if is_directory(orders.model) else None,
        draft_directory=_look_at(draft) if is_directory(draft := _draft(orders)) else None,
        vllm_version=vllm_version(),
        known_variables=known_variables(),
        gpu_names=tuple(gpu.name for gpu in gpus),
        compile_cache_writable=bool(orders.compile_cache) and _can_write(orders.compile_cache),
        device=environment.get("GPTOSS_DEVICE", ""),
        allowed_cpus=tuple(sorted(os.sched_getaffinity(0))),
        ipv6_only=":" in environment.get("POD_IP", ""),
        environment=environment,
        openai_port=settings.openai_port,
    )


def _draft(orders: ServerOrders) -> str:
    """Return the draft model of orders whose engine has not been checked yet. Empty: there is none."""
    speculation: object = orders.engine.speculation
    return speculation.model if isinstance(speculation, Speculation) and isinstance(speculation.model, str) else ""


def _can_write(path: str) -> bool:
    """Return whether a file can be made in the directory, which is made first. Permission bits do not tell on NFS."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return True
    except OSError:
        return False


def _look_at(path: str) -> ModelDirectory:
    directory = Path(path)
    return ModelDirectory(
        exists=directory.is_dir(),
        has_config=os.access(directory / "config.json", os.R_OK),
    )


def _number(environment: Mapping[str, str], name: str, default: int, *, least: int = 1) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal() or not least <= int(text) < 2**16:
        raise ContractError(f"{name} is {text!r}: a whole number from {least} to 65535 is needed")
    return int(text)
