"""The HAProxy of the gateway's image, run on this machine as it is."""

from pathlib import Path

from e2e.images.cache import cache_directory, locked
from e2e.images.layer import ensure_layer, layer_directory
from e2e.images.rootfs import base_layer, require_build_machine


LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")


def haproxy_command() -> list[str]:
    """Return the command that starts the image's HAProxy with the image's libraries. Builds the image's base once.

    Raises ImageError when this machine cannot build it.
    """
    tree = _base_tree()
    libraries = ":".join(str(tree / directory) for directory in LIBRARIES)
    return [str(tree / "lib64/ld-linux-x86-64.so.2"), "--library-path", libraries, str(tree / "usr/sbin/haproxy")]


def _base_tree() -> Path:
    layer = base_layer()
    if not (layer_directory(layer) / "blob.json").exists():
        require_build_machine()
        with locked(cache_directory()):
            return ensure_layer(layer).tree
    return layer_directory(layer) / "tree"
