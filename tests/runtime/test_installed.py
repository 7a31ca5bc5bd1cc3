"""What the server reads of the vLLM beside it, and of its pod, before anything starts."""

import sys
from pathlib import Path

import pytest

from gptoss_runtime.contract import ContractError
from gptoss_runtime.engine_options import EngineOptions, Speculation, SpeculativeMethod
from gptoss_runtime.orders import SERVER_ENV, ServerOrders, WeightsOrder
from gptoss_runtime.server.args import PodFacts
from gptoss_runtime.server.installed import known_variables, vllm_version
from gptoss_runtime.server.settings import Settings, read_facts, read_orders
from tests.runtime.harness import an_order


ENVS = """\
import os
from typing import Any, Callable
raise RuntimeError("nobody imports this")
environment_variables: dict[str, Callable[[], Any]] = {
    # a comment
    "VLLM_HOST_IP": lambda: os.getenv("VLLM_HOST_IP", ""),
    "CUDA_HOME": lambda: None,
}
"""


def install(monkeypatch: pytest.MonkeyPatch, site: Path, envs: str) -> None:
    """Put a package with the name vllm where Python finds it."""
    (site / "vllm").mkdir()
    (site / "vllm/__init__.py").write_text("raise RuntimeError('nobody imports this')\n")
    (site / "vllm/envs.py").write_text(envs)
    (site / "vllm-0.32.0.dist-info").mkdir()
    (site / "vllm-0.32.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0\n")
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])


def test_reads_what_vllm_knows_without_importing_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert (vllm_version(), known_variables()) == ("", None)
    install(monkeypatch, tmp_path, ENVS)
    assert vllm_version() == "0.32.0"
    assert known_variables() == frozenset({"VLLM_HOST_IP", "CUDA_HOME"})
    assert "vllm" not in sys.modules


@pytest.mark.parametrize(
    "envs",
    [
        "not python",
        "x = 1",
        "environment_variables: dict = dict(VLLM_X=1)",
        "environment_variables: dict = {'VLLM_X': 1, **others}",
        "environment_variables: dict = {name: 1}",
    ],
)
def test_a_vllm_that_is_written_otherwise_is_left_to_judge_by_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, envs: str
) -> None:
    install(monkeypatch, tmp_path, envs)
    assert known_variables() is None


def test_a_compile_cache_is_made_and_tried(tmp_path: Path) -> None:
    cache = tmp_path / "deep/cache"
    assert facts_for(an_order("me/mine", compile_cache=str(cache))).compile_cache_writable
    assert list(cache.iterdir()) == []
    (tmp_path / "file").touch()
    assert not facts_for(an_order("me/mine", compile_cache=str(tmp_path / "file"))).compile_cache_writable
    assert not facts_for(an_order("me/mine")).compile_cache_writable


def test_a_draft_model_is_looked_at_where_it_is_a_directory(tmp_path: Path) -> None:
    def draft(model: str) -> ServerOrders:
        speculation = Speculation(method=SpeculativeMethod.EAGLE3, model=model, tokens=3)
        return an_order("me/mine", engine=EngineOptions(speculation=speculation))

    assert facts_for(draft("me/draft")).draft_directory is None
    looked = facts_for(draft(str(tmp_path))).draft_directory
    assert looked is not None
    assert (looked.exists, looked.has_config) == (True, False)


def test_orders_come_back_as_they_were_sent() -> None:
    orders = an_order(
        "/cache/x",
        weights=WeightsOrder(source="hf://me/mine", directory="/cache/x"),
        compile_cache="/cache/compile",
        engine=EngineOptions(loader_options={"num_threads": 8}),
    )
    assert read_orders({SERVER_ENV: orders.encode()}) == orders


@pytest.mark.parametrize(
    ("orders", "words"),
    [
        (an_order("/m", engine="fast"), "engine must be an object"),
        (an_order("/m", engine=None), "engine must be an object"),
        (an_order("/m", weights=["hf://x"]), "weights must be an object"),
        (an_order("/m", weights=WeightsOrder(source=7, directory="/m")), "weights must be text"),  # type: ignore[arg-type]
        (an_order("/m", compile_cache=1), "compile_cache must be text"),
        (an_order("/m", extra_args="--x"), "extra_args must be a list"),
    ],
)
def test_orders_of_another_shape_are_refused_in_words(orders: ServerOrders, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        read_orders({SERVER_ENV: orders.encode()})


def facts_for(orders: ServerOrders) -> PodFacts:
    return read_facts(orders, Settings(), {})
