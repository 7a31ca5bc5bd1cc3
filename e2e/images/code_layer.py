"""The thin last layer of an image: this project's own code, from the checkout."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from e2e.images.layer import LayerSpec, key_of, layer_directory
from e2e.images.rootfs import SITE_PACKAGES, base_layer, compile_bytecode


CHECKOUT = Path(__file__).resolve().parents[2]
RECIPE = "1"
NEEDED_BYTES = 2**26


def source_files(package: Path) -> list[Path]:
    """Return the files of an import package that belong into an image, sorted."""
    return sorted(
        path
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    )


def code_layer(name: str, packages: Sequence[Path], programs: Mapping[str, str]) -> LayerSpec:
    """Return the layer with the import packages, and a starter in /usr/local/bin for each of `programs`.

    `programs` maps a program's name to the arguments that Python runs it with, such as `-m gptoss_operator`.
    """
    # Read now, so that the key is that of what will be built, also when somebody saves a file in between.
    contents = {
        path.relative_to(package.parent): path.read_bytes() for package in packages for path in source_files(package)
    }
    parts: list[str | bytes] = [RECIPE, _version(), *(f"{program} {run}" for program, run in programs.items())]
    for path, content in contents.items():
        parts += [str(path), content]

    def build(tree: Path) -> None:
        site = tree / SITE_PACKAGES
        for path, content in contents.items():
            target = site / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        write_metadata(site, "gptoss-operator", _version())
        for program, arguments in programs.items():
            write_program(tree, program, arguments)
        compile_bytecode(base=layer_directory(base_layer()) / "tree", tree=tree, directories=[SITE_PACKAGES])

    return LayerSpec(name=name, key=key_of(parts), needed_bytes=NEEDED_BYTES, build=build)


def write_program(tree: Path, program: str, arguments: str) -> None:
    """Write a starter that replaces itself with Python, so that signals reach the program."""
    starter = tree / "usr/local/bin" / program
    starter.parent.mkdir(parents=True, exist_ok=True)
    starter.write_text(f'#!/bin/sh\nexec /usr/bin/python3 {arguments} "$@"\n')
    starter.chmod(0o755)


def write_metadata(site: Path, distribution: str, version: str) -> None:
    """Say which version of a distribution is installed, for those who ask `importlib.metadata`."""
    directory = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    directory.mkdir(parents=True)
    (directory / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")


def _version() -> str:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    version: str = project["version"]
    return version
