"""What each part of the runtime may load: it decides how fast a server starts and what the operator drags in."""

import subprocess
import sys

import pytest


PROGRAM = (
    "import importlib, sys; importlib.import_module(sys.argv[1]); print(*{n.partition('.')[0] for n in sys.modules})"
)


def loaded_by(module: str) -> set[str]:
    answer = subprocess.run([sys.executable, "-c", PROGRAM, module], check=True, capture_output=True, text=True)
    return set(answer.stdout.split())


def test_the_server_loads_neither_vllm_nor_what_it_is_made_of() -> None:
    assert not loaded_by("gptoss_runtime.server.supervisor") & {"vllm", "torch", "transformers", "numpy", "pydantic"}


def test_bad_orders_are_told_without_loading_an_http_library() -> None:
    assert not loaded_by("gptoss_runtime.server.__main__") & {"aiohttp", "prometheus_client"}


@pytest.mark.parametrize("module", ["contract", "exposition", "server.middleware"])
def test_what_others_import_is_standard_library_only(module: str) -> None:
    assert loaded_by(f"gptoss_runtime.{module}") <= sys.stdlib_module_names | {"gptoss_runtime", *loaded_by("json")}
