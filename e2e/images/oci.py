"""Images in the Open Container Initiative's format: their JSON documents, and an archive that is written as a stream.

Format: the OCI image specification 1.1, chapters "Image Layout", "Image Manifest" and "Image Configuration".
"""

import hashlib
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from e2e.images.layer import Layer
from e2e.images.tree_tar import MTIME, Blob, Sink, write_tar


LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CREATED = "1970-01-01T00:00:00Z"
TAR_BLOCK_BYTES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How a container of the image runs when its pod does not say otherwise."""

    user: str
    """Numbers, `uid:gid`: a kubelet that must prove "not root" cannot read names."""
    entrypoint: Sequence[str]
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = "/"
    stop_signal: str | None = None
    """None means SIGTERM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image whose layers have all been built."""

    name: str
    """With its tag, as pods name it."""
    layers: Sequence[Layer]
    settings: RunSettings


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON document that is stored as a blob."""

    content: bytes

    def blob(self) -> Blob:
        """Return its digest and size."""
        return Blob(digest=f"sha256:{hashlib.sha256(self.content).hexdigest()}", size_bytes=len(self.content))


def settings_json(settings: RunSettings) -> dict[str, Any]:
    """Return the settings as the image configuration has them."""
    document: dict[str, Any] = {
        "User": settings.user,
        "Entrypoint": list(settings.entrypoint),
        "Cmd": list(settings.command),
        "Env": [f"{name}={value}" for name, value in sorted(settings.environment.items())],
        "WorkingDir": settings.working_directory,
    }
    if settings.stop_signal is not None:
        document["StopSignal"] = settings.stop_signal
    return document


def config_of(image: Image) -> Document:
    """Return the image's configuration. Layers are not compressed, so their digests are their content's."""
    return _document(
        {
            "created": CREATED,
            "architecture": "amd64",
            "os": "linux",
            "config": settings_json(image.settings),
            "rootfs": {"type": "layers", "diff_ids": [layer.blob.digest for layer in image.layers]},
            "history": [{"created": CREATED, "created_by": layer.name} for layer in image.layers],
        }
    )


def manifest_of(image: Image) -> Document:
    """Return the image's manifest."""
    return _document(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _descriptor(CONFIG_TYPE, config_of(image).blob()),
            "layers": [_descriptor(LAYER_TYPE, layer.blob) for layer in image.layers],
        }
    )


def index_of(images: Iterable[Image]) -> Document:
    """Return the archive's table of contents, with the name that each image is to get."""
    return _document(
        {
            "schemaVersion": 2,
            "mediaType": INDEX_TYPE,
            "manifests": [
                _descriptor(MANIFEST_TYPE, manifest_of(image).blob())
                | {"annotations": {"io.containerd.image.name": image.name}}
                for image in images
            ],
        }
    )


def layers_to_send(images: Iterable[Image], already_there: AbstractSet[str]) -> list[Layer]:
    """Return the layers that a store with these digests lacks, each once, in the images' order."""
    wanted = {layer.blob.digest: layer for image in images for layer in image.layers}
    return [layer for digest, layer in wanted.items() if digest not in already_there]


def write_archive(images: Sequence[Image], layers: Iterable[Layer], out: Sink) -> None:
    """Write an archive of `images` with `layers`, which may leave out those that its reader has already.

    Raises `ValueError` when a layer's tree is no longer what its digest was taken of.
    """
    _write_file(out, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    _write_file(out, "index.json", index_of(images).content)
    for image in images:
        for document in (config_of(image), manifest_of(image)):
            _write_file(out, _path_of(document.blob()), document.content)
    for layer in layers:
        _write_layer(out, layer)
    out.write(bytes(2 * TAR_BLOCK_BYTES))


class _Counting:
    """Passes on what is written to it, and counts."""

    def __init__(self, out: Sink) -> None:
        self._out = out
        self.size_bytes = 0

    def write(self, data: bytes, /) -> None:
        self.size_bytes += len(data)
        self._out.write(data)


def _write_layer(out: Sink, layer: Layer) -> None:
    _write_header(out, _path_of(layer.blob), layer.blob.size_bytes)
    counting = _Counting(out)
    write_tar(layer.tree, counting)
    if counting.size_bytes != layer.blob.size_bytes:
        raise ValueError(f"{layer.tree} has changed since it was built: remove {layer.tree.parent} and build again.")
    out.write(bytes(-layer.blob.size_bytes % TAR_BLOCK_BYTES))


def _write_file(out: Sink, path: str, content: bytes) -> None:
    _write_header(out, path, len(content))
    out.write(content + bytes(-len(content) % TAR_BLOCK_BYTES))


def _write_header(out: Sink, path: str, size_bytes: int) -> None:
    info = tarfile.TarInfo(path)
    info.size, info.mode, info.mtime = size_bytes, 0o644, MTIME
    out.write(info.tobuf(format=tarfile.GNU_FORMAT))


def _path_of(blob: Blob) -> str:
    return f"blobs/{blob.digest.replace(':', '/')}"


def _descriptor(media_type: str, blob: Blob) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": blob.digest, "size": blob.size_bytes}


def _document(content: Mapping[str, Any]) -> Document:
    return Document(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
