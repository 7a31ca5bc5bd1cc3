"""Building all images, and bringing them where they run."""

from collections.abc import Sequence
from pathlib import Path

from e2e.images.cache import cache_directory, locked
from e2e.images.containerd import complete_images, import_images
from e2e.images.docker import build_with_docker, copy_from_docker
from e2e.images.layer import Layer, ensure_layer, layer_directory
from e2e.images.names import ImageSpec, image_specs
from e2e.images.oci import Image
from e2e.images.python_layer import remove
from e2e.images.rootfs import require_build_machine
from e2e.progress import say, step


def build_images(specs: Sequence[ImageSpec] | None = None) -> list[Image]:
    """Return the images (all of the project's unless told otherwise), built as far as the cache lacks their layers.

    Raises `ImageError` when this machine cannot, or when a step fails; the next call goes on after the last good layer.
    """
    wanted = image_specs() if specs is None else specs
    if not all((layer_directory(layer) / "blob.json").exists() for spec in wanted for layer in spec.layers):
        require_build_machine()
    with locked(cache_directory()):
        built: dict[str, Layer] = {}
        for spec in wanted:
            for layer in spec.layers:
                if layer.key not in built:
                    built[layer.key] = ensure_layer(layer)
    return [
        Image(name=spec.name(), layers=[built[layer.key] for layer in spec.layers], settings=spec.settings)
        for spec in wanted
    ]


def build_and_import(ctr: Sequence[str], *, store: Path | None = None) -> None:
    """Make the containerd that `ctr` reaches have all images of this checkout.

    `store` is a directory on the disk where that containerd keeps its content, which is asked for room before anything
    is sent; None means the disk of our own cache. When containerd has all images already, nothing is built, and the
    cache may be empty.
    """
    if ctr[0] == "docker":
        # The cluster is a Docker container, so Docker is there to build with, and root and debootstrap may not be.
        build_with_docker()
        copy_from_docker(ctr)
        return
    specs = image_specs()
    if {spec.name() for spec in specs} <= complete_images(ctr):
        say("containerd has all of them already")
        return
    images = build_images(specs)
    with step("import into containerd"):
        import_images(ctr, images, store=cache_directory() if store is None else store)


def prune_cache() -> int:
    """Remove from the cache what the images of this checkout are not made of; return how many bytes that freed."""
    wanted = {layer_directory(layer) for spec in image_specs() for layer in spec.layers}
    freed = 0
    with locked(cache_directory()):
        for directory in sorted(path for path in cache_directory().iterdir() if path.is_dir() and path.name != "logs"):
            if directory not in wanted:
                freed += remove(cache_directory(), [directory.name])
    return freed
