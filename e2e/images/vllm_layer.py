"""The server image's layer of vLLM for CPUs, small: nothing of it was made for a GPU only.

PyTorch's ordinary build is linked against NVIDIA's libraries, 2.7 GB that a CPU never calls but that the loader wants
to find. In their place stands one tiny library with the same names, each of which ends the process and says why.
"""

from pathlib import Path

from e2e.images.code_layer import write_metadata
from e2e.images.layer import LayerSpec
from e2e.images.python_layer import LOCKS, python_layer, remove
from e2e.images.stand_in import write_stand_in
from e2e.progress import say


VLLM_VERSION = "0.32.0"
LOCK = LOCKS / "vllm.lock"
NEEDED_BYTES = 6 * 2**30

ABSENT_LIBRARIES = (
    "libcublas.so.13", "libcublasLt.so.13", "libcudnn.so.9", "libcufft.so.12", "libcufile.so.0", "libcurand.so.10",
    "libcusparse.so.12", "libcusparseLt.so.0", "libnccl.so.2", "libnvrtc.so.13", "libnvshmem_host.so.3",
)  # fmt: skip
"""What PyTorch's libraries are linked against and the lock leaves out. libcudart and libcupti, which run when PyTorch
is loaded, are small and stay."""
ABSENT_PREFIXES = ("cublas", "cudnn", "cufft", "cuFile", "curand", "cusparse", "nccl", "nvrtc", "nvshmem")
"""How the names start that those libraries define."""

USELESS = (
    # Loaded on the first use of a GPU only.
    "torch/lib/libtorch_cuda_linalg.so",
    "nvidia/*/lib/libcheckpoint.so",
    "nvidia/*/lib/libnvperf_*.so",
    "nvidia/*/lib/libpcsamplingutil.so",
    # For compiling against PyTorch and CUDA; the image has no compiler, see TORCHDYNAMO_DISABLE.
    "torch/include",
    "torch/share",
    "torch/bin/protoc*",
    "nvidia/*/include",
    "**/*.a",
    # Other projects' tests.
    "**/tests",
)

FEWER_COLLECTIONS = "import gc; gc.set_threshold(100_000)\n"
"""Run by Python at its start. Loading five thousand modules makes half a million objects that stay; looking through
them again and again takes a fifth of each process' start: 8.4 s of CPU without this line, 6.5 s with it."""


def vllm_layer() -> LayerSpec:
    """Return the layer of vLLM and what it needs."""
    recipe = [VLLM_VERSION, *ABSENT_LIBRARIES, *ABSENT_PREFIXES, *USELESS, FEWER_COLLECTIONS]
    return python_layer(name="vllm", lock=LOCK, recipe=recipe, needed_bytes=NEEDED_BYTES, finish=finish)


def finish(site: Path) -> None:
    """Make the installed packages work on a CPU, and remove what it has no use for."""
    freed = remove(site, USELESS)
    say(f"  removed {freed / 2**20:.0f} MiB that no CPU server loads")
    # vLLM asks for its own version under the name `vllm`, which this build of it is not called.
    write_metadata(site, "vllm", f"{VLLM_VERSION}+cpu")
    (site / "fewer-collections.pth").write_text(FEWER_COLLECTIONS)
    torch_libraries = site / "torch" / "lib"
    write_stand_in(
        users=sorted(torch_libraries.glob("*.so")),
        prefixes=ABSENT_PREFIXES,
        targets=[torch_libraries / name for name in ABSENT_LIBRARIES],
    )
