"""The images where Docker runs: from the Dockerfiles, with the names that `image_names` says.

Not tried yet: no machine at hand had a Docker engine.
"""

import subprocess
from collections.abc import Sequence

from e2e.images.cache import cache_directory
from e2e.images.code_layer import CHECKOUT
from e2e.images.commands import run_logged
from e2e.images.containerd import complete_images
from e2e.images.errors import CommandFailedError
from e2e.images.names import image_names
from e2e.progress import step


BUILD_BOUND_SECONDS = 3600.0
COPY_BOUND_SECONDS = 1800.0
CPU_ARGUMENTS = ["--build-arg", "VLLM_IMAGE=vllm/vllm-openai-cpu:v0.32.0", "--build-arg", "DEVICE=cpu"]


def build_with_docker() -> None:
    """Build all images with Docker, which keeps its own cache. Raises `CommandFailedError`."""
    names = image_names()
    for name, dockerfile, arguments in (
        (names.gateway, "operator/gateway.Dockerfile", []),
        (names.operator, "operator/Dockerfile", []),
        (names.activator, "runtime/Dockerfile", ["--target", "activator"]),
        (names.server, "runtime/Dockerfile", ["--target", "server", *CPU_ARGUMENTS]),
    ):
        with step(f"docker build of {name}"):
            where = ["--file", str(CHECKOUT / dockerfile), *arguments, str(CHECKOUT)]
            log = cache_directory() / "logs" / "docker.log"
            run_logged(["docker", "build", "--tag", name, *where], log, bound_seconds=BUILD_BOUND_SECONDS)


def copy_from_docker(ctr: Sequence[str]) -> None:
    """Copy the built images from Docker into the containerd that `ctr` reaches, as far as it lacks them.

    Raises `CommandFailedError` when either end fails.
    """
    names = image_names()
    missing = sorted({names.operator, names.server, names.gateway, names.activator} - complete_images(ctr))
    if not missing:
        return
    with step("copy from Docker into containerd"):
        saving = subprocess.Popen(["docker", "save", *missing], stdout=subprocess.PIPE)
        try:
            subprocess.run([*ctr, "images", "import", "-"], stdin=saving.stdout, check=True, timeout=COPY_BOUND_SECONDS)
            saving.wait(timeout=COPY_BOUND_SECONDS)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise CommandFailedError(
                f"Copying {', '.join(missing)} from Docker into containerd failed: {error}"
            ) from error
        finally:
            saving.kill()
            saving.wait()
    if saving.returncode != 0:
        raise CommandFailedError(
            f"`docker save {' '.join(missing)}` ended with {saving.returncode}; is Docker running?"
        )
