from dataclasses import replace
from pathlib import Path

import pytest

from e2e.cluster.errors import ClusterError
from e2e.cluster.local import modules
from e2e.cluster.local.modules import MODULES, Module, content_key, link_flags, required_version
from e2e.cluster.local.toolchain import go_version, is_new_enough


@pytest.fixture
def module(tmp_path: Path) -> Module:
    (tmp_path / "go.mod").write_text("module m\n\nrequire k8s.io/kubernetes v1.37.2\n")
    (tmp_path / "go.sum").write_text("sum\n")
    return Module(
        directory=tmp_path, packages={"kubelet": "k8s.io/kubernetes/cmd/kubelet"}, stamped="k8s.io/kubernetes"
    )


def test_the_key_is_the_same_for_the_same_inputs(module: Module) -> None:
    assert content_key(module, "go1.26.8") == content_key(replace(module), "go1.26.8")


def test_the_key_changes_with_the_compiler(module: Module) -> None:
    assert content_key(module, "go1.26.8") != content_key(module, "go1.27.3")


@pytest.mark.parametrize("file", ["go.mod", "go.sum", "main.go"])
def test_the_key_changes_with_every_source(module: Module, file: str) -> None:
    before = content_key(module, "go1.26.8")

    with (module.directory / file).open("a") as source:
        source.write("\n// more\n")

    assert content_key(module, "go1.26.8") != before


def test_the_key_ignores_files_that_the_build_does_not_read(module: Module) -> None:
    before = content_key(module, "go1.26.8")

    (module.directory / "notes.txt").write_text("more")

    assert content_key(module, "go1.26.8") == before


def test_the_key_changes_with_the_flags(module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content_key(module, "go1.26.8")

    monkeypatch.setattr(modules, "BUILD_FLAGS", (*modules.BUILD_FLAGS, "-race"))

    assert content_key(module, "go1.26.8") != before


def test_kubernetes_programs_are_told_their_version_in_both_places(module: Module) -> None:
    flags = link_flags(module)

    assert "-X k8s.io/component-base/version.gitVersion=v1.37.2" in flags
    assert "-X k8s.io/client-go/pkg/version.gitVersion=v1.37.2" in flags
    assert "-X k8s.io/client-go/pkg/version.gitMinor=37" in flags


@pytest.mark.parametrize(
    ("go_mod", "version"),
    [
        ("require k8s.io/kubernetes v1.37.2\n", "v1.37.2"),
        ("require (\n\tk8s.io/kubernetes v1.37.2 // indirect\n)\n", "v1.37.2"),
        ("require (\n\tk8s.io/kubernetes/staging v9.9.9\n\tk8s.io/kubernetes v1.37.2\n)\n", "v1.37.2"),
    ],
)
def test_a_required_version_is_read_from_go_mod(go_mod: str, version: str) -> None:
    assert required_version(go_mod, "k8s.io/kubernetes") == version


def test_a_version_that_go_mod_does_not_require_is_an_error() -> None:
    with pytest.raises(ClusterError, match=r"does not require k8s\.io/kubernetes"):
        required_version("module m\n", "k8s.io/kubernetes")


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.directory.name)
def test_every_module_of_the_project_has_its_files_and_a_key(module: Module) -> None:
    assert (module.directory / "go.mod").exists()
    assert content_key(module, "go1.26.8").startswith(f"{module.directory.name}-")


def test_every_program_of_a_tier_is_built_by_a_module() -> None:
    built = {program for module in MODULES for program in module.packages}

    assert {*modules.FOR_API, *modules.FOR_MARKET, *modules.FOR_NODE, *modules.FOR_KIND} == built


@pytest.mark.parametrize(
    ("printed", "version", "enough"),
    [
        ("go version go1.26.8 linux/amd64\n", "go1.26.8", True),
        ("go version go1.27 linux/arm64\n", "go1.27", True),
        ("go version go1.26.5 linux/amd64\n", "go1.26.5", False),
        ("go version go2.0.1 linux/amd64\n", "go2.0.1", True),
        ("go version go1.19.8 linux/amd64\n", "go1.19.8", False),
    ],
)
def test_a_compiler_is_taken_only_when_it_is_new_enough(printed: str, version: str, enough: bool) -> None:  # noqa: FBT001
    assert go_version(printed) == version
    assert is_new_enough(version) is enough


def test_another_program_called_go_is_an_error() -> None:
    with pytest.raises(ClusterError, match="names no version"):
        go_version("a game of go\n")
