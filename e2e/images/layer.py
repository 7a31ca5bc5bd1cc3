"""Layers: directory trees in the cache, each built once for each key of what goes into it."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from e2e.images import disk
from e2e.images.cache import cache_directory
from e2e.images.tree_tar import Blob, measure
from e2e.progress import step


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSpec:
    """What a layer is called, what it is made of, and how."""

    name: str
    key: str
    """Changes when, and only when, the layer's content has to."""
    needed_bytes: int
    """Disk that building takes at its peak, downloads included."""
    build: Callable[[Path], None]
    """Fills the given empty directory, which stands for the image's root directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer that has been built."""

    name: str
    tree: Path
    blob: Blob


def key_of(parts: Iterable[str | bytes]) -> str:
    """Return a short key of a sequence of texts; the borders between the parts count too."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8))
        total.update(data)
    return total.hexdigest()[:16]


def layer_directory(spec: LayerSpec) -> Path:
    """Return where the layer lies, or will lie, in the cache."""
    return cache_directory() / f"{spec.name}-{spec.key}"


def ensure_layer(spec: LayerSpec) -> Layer:
    """Return the layer, built now if the cache lacks it.

    The caller holds the cache's lock. An interrupted build leaves a `.partial` directory, which the next one replaces.
    """
    home = layer_directory(spec)
    facts = home / "blob.json"
    if not facts.exists():
        partial = home.with_suffix(".partial")
        for leftover in (partial, home):
            if leftover.exists():
                shutil.rmtree(leftover)
        disk.require_free(home, spec.needed_bytes, f"Building the image layer {spec.name!r}")
        with step(f"layer {spec.name}: build"):
            tree = partial / "tree"
            tree.mkdir(parents=True)
            spec.build(tree)
        with step(f"layer {spec.name}: digest"):
            (partial / "blob.json").write_text(json.dumps(asdict(measure(tree))))
        partial.rename(home)
    return Layer(name=spec.name, tree=home / "tree", blob=Blob(**json.loads(facts.read_text())))
