"""The project's images: what each is made of, how it runs, and its name.

A tag is made of everything that goes into the image, so an image under its name never changes, and whoever has the name
has the right one. Asking for names builds nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from e2e.images.code_layer import CHECKOUT, code_layer
from e2e.images.layer import LayerSpec, key_of
from e2e.images.oci import RunSettings, settings_json
from e2e.images.python_layer import LOCKS, python_layer
from e2e.images.rootfs import USER_ID, USER_NAME, base_layer
from e2e.images.vllm_layer import vllm_layer


OPERATOR_LOCK = LOCKS / "operator.lock"
OPERATOR_NEEDED_BYTES = 2**29
SERVER_LOCK = LOCKS / "server.lock"
SERVER_NEEDED_BYTES = 2**28

WRITABLE = "/tmp"  # noqa: S108  # not a file of ours with a guessable name: in a pod this is the pod's own volume
USER = f"{USER_ID}:{USER_ID}"
PYTHON_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",
    # All bytecode is in the image, and the root file system is read-only.
    "PYTHONDONTWRITEBYTECODE": "1",
    # The user need not be in /etc/passwd when a cluster chooses its number.
    "USER": USER_NAME,
    "LOGNAME": USER_NAME,
    "HOME": WRITABLE,
}
SERVER_ENVIRONMENT = PYTHON_ENVIRONMENT | {
    "GPTOSS_DEVICE": "cpu",
    # PyTorch's compiler would call a C++ compiler at the first request, and the image has none.
    "TORCHDYNAMO_DISABLE": "1",
    # Only /tmp can be written to. The pod may put any of these on a volume.
    "XDG_CACHE_HOME": f"{WRITABLE}/cache",
    "XDG_CONFIG_HOME": f"{WRITABLE}/config",
    "HF_HOME": f"{WRITABLE}/cache/huggingface",
    "VLLM_CACHE_ROOT": f"{WRITABLE}/cache/vllm",
    "VLLM_CONFIG_ROOT": f"{WRITABLE}/config/vllm",
    "TORCHINDUCTOR_CACHE_DIR": f"{WRITABLE}/cache/inductor",
    "NUMBA_CACHE_DIR": f"{WRITABLE}/cache/numba",
    # Nothing leaves the pod unasked.
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """What an image is made of, lowest layer first, and how it runs."""

    repository: str
    layers: Sequence[LayerSpec]
    settings: RunSettings

    def name(self) -> str:
        """Return the image's name with its tag."""
        keys = [layer.key for layer in self.layers]
        return f"localhost/{self.repository}:{key_of([*keys, json.dumps(settings_json(self.settings))])}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageNames:
    """The names, tags included, under which pods find this checkout's images."""

    operator: str
    server: str
    gateway: str
    activator: str


def operator_packages() -> LayerSpec:
    """Return the layer of what the operator imports. The activator needs a part of it, and shares the layer."""
    return python_layer(
        name="operator-packages",
        lock=OPERATOR_LOCK,
        recipe=[],
        needed_bytes=OPERATOR_NEEDED_BYTES,
        finish=lambda _: None,
    )


def operator_image() -> ImageSpec:
    """Return the operator's image: `gptoss-operator`, and the parts of the runtime that it shares."""
    packages = [CHECKOUT / "operator/gptoss_operator", CHECKOUT / "runtime/gptoss_runtime"]
    code = code_layer("operator-code", packages, {"gptoss-operator": "-m gptoss_operator"})
    settings = RunSettings(user=USER, entrypoint=["gptoss-operator"], environment=PYTHON_ENVIRONMENT)
    return ImageSpec(repository="gptoss-operator", layers=[base_layer(), operator_packages(), code], settings=settings)


def activator_image() -> ImageSpec:
    """Return the image of the gateway's sidecar: `gptoss-activator`."""
    programs = {"gptoss-activator": "-m gptoss_runtime.activator"}
    code = code_layer("activator-code", [CHECKOUT / "runtime/gptoss_runtime"], programs)
    settings = RunSettings(user=USER, entrypoint=["gptoss-activator"], environment=PYTHON_ENVIRONMENT)
    return ImageSpec(repository="gptoss-activator", layers=[base_layer(), operator_packages(), code], settings=settings)


def server_packages() -> LayerSpec:
    """Return the layer of what the runtime needs beside vLLM. It is its own, so that vLLM is not installed again."""
    return python_layer(
        name="server-packages",
        lock=SERVER_LOCK,
        recipe=[],
        needed_bytes=SERVER_NEEDED_BYTES,
        finish=lambda _: None,
    )


def server_image() -> ImageSpec:
    """Return the model server's image for CPUs: `gptoss-server`, `gptoss-fetch`, and `vllm` for experiments."""
    programs = {
        "gptoss-server": "-m gptoss_runtime.server",
        "gptoss-fetch": "-m gptoss_runtime.weights",
        "vllm": "-m vllm.entrypoints.cli.main",
    }
    code = code_layer("server-code", [CHECKOUT / "runtime/gptoss_runtime"], programs)
    settings = RunSettings(
        user=USER, entrypoint=["gptoss-server"], environment=SERVER_ENVIRONMENT, working_directory=WRITABLE
    )
    return ImageSpec(
        repository="gptoss-server", layers=[base_layer(), vllm_layer(), server_packages(), code], settings=settings
    )


def gateway_image() -> ImageSpec:
    """Return the gateway's image: HAProxy, where HAProxy's own image expects its configuration too."""
    settings = RunSettings(
        user=USER,
        entrypoint=["haproxy"],
        command=["-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"],
        environment={"PATH": PYTHON_ENVIRONMENT["PATH"]},
        # Finish what runs, then end. SIGTERM would cut it off.
        stop_signal="SIGUSR1",
    )
    return ImageSpec(repository="gptoss-gateway", layers=[base_layer()], settings=settings)


def image_specs() -> list[ImageSpec]:
    """Return all images, those that are ready first first."""
    return [gateway_image(), operator_image(), activator_image(), server_image()]


def image_names() -> ImageNames:
    """Return the names of this checkout's images. They change when, and only when, what goes into the images does."""
    return ImageNames(
        operator=operator_image().name(),
        server=server_image().name(),
        gateway=gateway_image().name(),
        activator=activator_image().name(),
    )
