"""The image of the container that holds each pod's namespaces open: one static program of a few lines."""

import io
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from e2e.cluster.commands import last_lines, run
from e2e.cluster.errors import ClusterError
from e2e.images.layer import Layer
from e2e.images.oci import Image, RunSettings, write_archive
from e2e.images.tree_tar import measure


IMPORT_SECONDS = 60


def pause_image(program: Path, scratch: Path) -> Image:
    """Return the image, whose layer is made in `scratch`. Its tag follows from its content."""
    tree = scratch / "pause-image"
    tree.mkdir(parents=True)
    shutil.copy(program, tree / "pause")
    (tree / "pause").chmod(0o755)
    blob = measure(tree)
    return Image(
        name=f"gptoss.local/pause:{blob.digest.removeprefix('sha256:')[:12]}",
        layers=[Layer(name="pause", tree=tree, blob=blob)],
        settings=RunSettings(user="65535:65535", entrypoint=["/pause"]),
    )


def import_pause(ctr: Sequence[str], image: Image) -> None:
    """Make containerd have the image. Raises `ClusterError` with what it says when it refuses."""
    if image.name in run([*ctr, "images", "ls", "--quiet"], timeout_seconds=IMPORT_SECONDS).split():
        return
    archive = io.BytesIO()
    write_archive([image], image.layers, archive)
    done = subprocess.run(
        [*ctr, "images", "import", "-"],
        input=archive.getvalue(),
        capture_output=True,
        check=False,
        timeout=IMPORT_SECONDS,
    )
    if done.returncode != 0:
        raise ClusterError(f"containerd refuses the image {image.name}:\n{last_lines(done.stderr.decode())}")
