import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from e2e.images.layer import Layer
from e2e.images.oci import Image, RunSettings, layers_to_send, write_archive
from e2e.images.tree_tar import DigestSink, measure, write_tar


def a_tree(root: Path, content: str = "hello") -> Path:
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/tool").write_text(content)
    (root / "usr/bin/tool").chmod(0o755)
    (root / "bin").symlink_to("usr/bin")
    (root / "proc").mkdir()
    (root / "proc/leftover").write_text("of the build")
    return root


def a_layer(directory: Path, name: str, content: str = "hello") -> Layer:
    tree = a_tree(directory / name, content)
    return Layer(name=name, tree=tree, blob=measure(tree))


def an_image(*layers: Layer, name: str = "localhost/thing:1") -> Image:
    settings = RunSettings(
        user="10001:10001", entrypoint=["tool"], environment={"B": "2", "A": "1"}, stop_signal="SIGUSR1"
    )
    return Image(name=name, layers=layers, settings=settings)


def tar_of(tree: Path) -> bytes:
    out = io.BytesIO()
    write_tar(tree, out)
    return out.getvalue()


def archive_of(images: list[Image], layers: list[Layer]) -> dict[str, bytes]:
    out = io.BytesIO()
    write_archive(images, layers, out)
    out.seek(0)
    contents = {}
    with tarfile.open(fileobj=out) as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            contents[member.name] = file.read()
    return contents


def test_tar_does_not_depend_on_when_or_where_a_tree_was_made(tmp_path: Path) -> None:
    first, second = a_tree(tmp_path / "first"), a_tree(tmp_path / "second")
    os.utime(second / "usr/bin/tool", (1, 1))
    assert tar_of(first) == tar_of(second)


def test_tar_depends_on_the_content(tmp_path: Path) -> None:
    assert tar_of(a_tree(tmp_path / "first")) != tar_of(a_tree(tmp_path / "second", content="other"))


def test_tar_holds_what_the_tree_holds(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(tar_of(a_tree(tmp_path)))) as tar:
        members = {member.name: member for member in tar}
    assert list(members) == ["bin", "proc", "usr", "usr/bin", "usr/bin/tool"]
    assert members["bin"].linkname == "usr/bin"
    assert members["usr/bin/tool"].mode == 0o755
    assert {member.mtime for member in members.values()} == {0}


def test_tar_writes_hard_links_as_files(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("same")
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    with tarfile.open(fileobj=io.BytesIO(tar_of(tmp_path))) as tar:
        assert [member.isreg() for member in tar] == [True, True]


def test_tar_refuses_what_an_image_cannot_hold(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is neither"):
        write_tar(tmp_path, DigestSink())


def test_digest_is_that_of_the_stream(tmp_path: Path) -> None:
    tree = a_tree(tmp_path)
    content = tar_of(tree)
    assert measure(tree).digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert measure(tree).size_bytes == len(content)


def test_archive_is_complete_and_every_blob_has_the_digest_of_its_name(tmp_path: Path) -> None:
    image = an_image(a_layer(tmp_path, "base"), a_layer(tmp_path, "code", content="code"))
    contents = archive_of([image], list(image.layers))
    blobs = {name: content for name, content in contents.items() if name.startswith("blobs/")}
    assert json.loads(contents["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert all(name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}" for name, content in blobs.items())

    entry = json.loads(contents["index.json"])["manifests"][0]
    assert entry["annotations"]["io.containerd.image.name"] == "localhost/thing:1"
    manifest = json.loads(blobs[entry["digest"].replace("sha256:", "blobs/sha256/")])
    wanted = [manifest["config"], *manifest["layers"]]
    assert [len(blobs[blob["digest"].replace("sha256:", "blobs/sha256/")]) for blob in wanted] == [
        blob["size"] for blob in wanted
    ]
    config = json.loads(blobs[manifest["config"]["digest"].replace("sha256:", "blobs/sha256/")])
    assert config["rootfs"]["diff_ids"] == [layer.blob.digest for layer in image.layers]
    assert config["config"] == {
        "User": "10001:10001",
        "Entrypoint": ["tool"],
        "Cmd": [],
        "Env": ["A=1", "B=2"],
        "WorkingDir": "/",
        "StopSignal": "SIGUSR1",
    }


def test_archive_may_leave_out_layers_that_the_reader_has(tmp_path: Path) -> None:
    base, code = a_layer(tmp_path, "base"), a_layer(tmp_path, "code", content="code")
    one, two = an_image(base), an_image(base, code, name="localhost/other:1")
    assert layers_to_send([one, two], set()) == [base, code]
    assert layers_to_send([one, two], {base.blob.digest}) == [code]
    path = base.blob.digest.replace("sha256:", "blobs/sha256/")
    assert path not in archive_of([one, two], [code])


def test_archive_refuses_a_tree_that_has_changed_since(tmp_path: Path) -> None:
    layer = a_layer(tmp_path, "base")
    (layer.tree / "new").write_text("x" * 20_000)
    with pytest.raises(ValueError, match="has changed since"):
        write_archive([an_image(layer)], [layer], DigestSink())
