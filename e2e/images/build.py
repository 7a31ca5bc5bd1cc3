"""Building all images, and bringing them where they run."""

from collections.abc import Sequence
from pathlib import Path

from e2e.images import disk
from e2e.images.cache import cache_directory, locked
from e2e.images.containerd import complete_images, import_images
from e2e.images.layer import Layer, ensure_layer, layer_directory
from e2e.images.names import ImageSpec, image_specs
from e2e.images.oci import Image
from e2e.images.progress import step
from e2e.images.rootfs import require_build_machine


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

    `store` is a directory on the disk where that containerd keeps its content, to ask before how much is free there;
    None asks nothing. When containerd has all images already, nothing is built: the cache may be empty.
    """
    specs = image_specs()
    if {spec.name() for spec in specs} <= complete_images(ctr):
        print("images: containerd has all of them already", flush=True)
        return
    images = build_images(specs)
    if store is not None:
        size_bytes = sum(
            {layer.blob.digest: layer.blob.size_bytes for image in images for layer in image.layers}.values()
        )
        # Once as content, once unpacked.
        disk.require_free(store, 2 * size_bytes, "containerd's copy of the images")
    with step("import into containerd"):
        import_images(ctr, images)
