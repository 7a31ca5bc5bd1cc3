import pytest

from gptoss_runtime.model.gpu_labels import gpu_of_labels
from gptoss_runtime.model.gpus import GIB, GPUS, MIB, GpuFacts, GpuType, Kernel, gpu_of_device, gpu_of_memory


PRODUCT, MEMORY = "nvidia.com/gpu.product", "nvidia.com/gpu.memory"


@pytest.mark.parametrize(
    ("product", "mebibytes", "name"),
    [
        ("NVIDIA-H100-80GB-HBM3", "81559", GpuType.H100),
        ("NVIDIA-H100-PCIe", "81559", GpuType.H100),
        ("NVIDIA-H100-NVL", "95830", GpuType.H100_NVL),
        ("NVIDIA-H200", "143771", GpuType.H200),
        ("NVIDIA-GH200-480GB", "97871", GpuType.GH200),
        ("NVIDIA-A100-SXM4-80GB", "81920", GpuType.A100_80),
        ("A100-SXM4-80GB", "81920", GpuType.A100_80),
        ("NVIDIA-A100-80GB-PCIe", "81920", GpuType.A100_80),
        ("A100-SXM4-40GB", "39538", GpuType.A100_40),
        ("NVIDIA-A100-PCIE-40GB", "40960", GpuType.A100_40),
        ("NVIDIA-A10G", "23028", GpuType.A10G),
        ("NVIDIA-A10", "23028", GpuType.A10),
        ("NVIDIA-A40", "46068", GpuType.A40),
        ("NVIDIA-L4", "23034", GpuType.L4),
        ("NVIDIA-L40", "46068", GpuType.L40),
        ("NVIDIA-L40S", "46068", GpuType.L40S),
        ("NVIDIA-RTX-A6000", "49140", GpuType.A6000),
        ("NVIDIA-RTX-6000-Ada-Generation", "49140", GpuType.RTX_6000_ADA),
        ("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", "97887", GpuType.RTX_PRO_6000),
        ("NVIDIA-GeForce-RTX-4090", "24564", GpuType.RTX_4090),
        ("NVIDIA-GeForce-RTX-5090", "32607", GpuType.RTX_5090),
        ("NVIDIA-B200", "183359", GpuType.B200),
        ("NVIDIA-B300-SXM6-AC", "275040", GpuType.B300),
    ],
)
def test_knows_the_labels_of_gpu_feature_discovery(product: str, mebibytes: str, name: GpuType) -> None:
    gpu = gpu_of_labels({PRODUCT: product, MEMORY: mebibytes})
    assert gpu is not None
    assert gpu.name == name
    assert gpu.memory_bytes == int(mebibytes) * MIB
    assert gpu.kernel is GPUS[name].kernel


def test_a_product_that_is_not_known_is_what_its_labels_say() -> None:
    labels = {MEMORY: "97871", "nvidia.com/gpu.compute.major": "9", "nvidia.com/gpu.compute.minor": "0"}
    gpu = gpu_of_labels({PRODUCT: "NVIDIA-H20", **labels})
    assert gpu is not None
    assert (gpu.name, gpu.kernel, gpu.capability) == ("NVIDIA-H20", Kernel.TRITON, (9, 0))
    assert gpu_of_labels({PRODUCT: "NVIDIA-H20"}) is None


def test_a_slice_has_its_own_memory() -> None:
    labels = {PRODUCT: "NVIDIA-H100-80GB-HBM3-MIG-3g.40gb", MEMORY: "40192"}
    gpu = gpu_of_labels(labels)
    assert gpu is not None
    assert gpu.memory_bytes == 40192 * MIB
    slice_of_gke = gpu_of_labels(
        {"cloud.google.com/gke-accelerator": "nvidia-tesla-a100", "cloud.google.com/gke-gpu-partition-size": "3g.20gb"}
    )
    assert slice_of_gke is not None
    assert slice_of_gke.memory_bytes == 20 * 10**9


@pytest.mark.parametrize(
    "labels",
    [
        {PRODUCT: "NVIDIA-L40S-SHARED", MEMORY: "46068"},
        {PRODUCT: "NVIDIA-L40S", MEMORY: "46068", "nvidia.com/gpu.replicas": "4"},
        {"cloud.google.com/gke-accelerator": "nvidia-l4", "cloud.google.com/gke-max-shared-clients-per-gpu": "2"},
        {"cloud.google.com/gke-accelerator": "tpu-v5e"},
        {"node.kubernetes.io/instance-type": "m5.large"},
        {"nvidia.com/gpu.present": "true"},
        {},
    ],
)
def test_what_labels_do_not_say_is_not_known(labels: dict[str, str]) -> None:
    assert gpu_of_labels(labels) is None


@pytest.mark.parametrize(
    ("accelerator", "name"),
    [
        ("nvidia-l4", GpuType.L4),
        ("nvidia-tesla-a100", GpuType.A100_40),
        ("nvidia-a100-80gb", GpuType.A100_80),
        ("nvidia-h100-80gb", GpuType.H100),
        ("nvidia-h100-mega-80gb", GpuType.H100),
        ("nvidia-h200-141gb", GpuType.H200),
        ("nvidia-b200", GpuType.B200),
        ("nvidia-rtx-pro-6000", GpuType.RTX_PRO_6000),
        ("nvidia-tesla-t4", "T4"),
        ("nvidia-tesla-v100", "V100"),
    ],
)
def test_knows_the_labels_of_gke(accelerator: str, name: str) -> None:
    gpu = gpu_of_labels({"cloud.google.com/gke-accelerator": accelerator})
    assert gpu is not None
    assert gpu.name == name


@pytest.mark.parametrize(
    ("product", "mebibytes", "name"),
    [
        ("a10g", "24576", GpuType.A10G),
        ("l4", "22888", GpuType.L4),
        ("l40s", "45776", GpuType.L40S),
        ("a100", "40960", GpuType.A100_40),
        ("a100", "81920", GpuType.A100_80),
        ("h100", "81920", GpuType.H100),
        ("t4", "16384", "T4"),
    ],
)
@pytest.mark.parametrize("prefix", ["karpenter.k8s.aws", "eks.amazonaws.com"])
def test_knows_the_labels_of_karpenter_and_eks(prefix: str, product: str, mebibytes: str, name: str) -> None:
    gpu = gpu_of_labels({f"{prefix}/instance-gpu-name": product, f"{prefix}/instance-gpu-memory": mebibytes})
    assert gpu is not None
    assert gpu.name == name


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        ("g6.xlarge", GpuType.L4),
        ("g6e.12xlarge", GpuType.L40S),
        ("p5.48xlarge", GpuType.H100),
        ("p5en.48xlarge", GpuType.H200),
        ("p4de.24xlarge", GpuType.A100_80),
        ("Standard_NC24ads_A100_v4", GpuType.A100_80),
        ("Standard_ND96asr_v4", GpuType.A100_40),
        ("Standard_NC40adis_H100_v5", GpuType.H100_NVL),
        ("Standard_ND96isr_H100_v5", GpuType.H100),
        ("Standard_ND96isr_MI300X_v5", GpuType.MI300X),
        ("Standard_NC6s_v3", "V100"),
    ],
)
def test_knows_machines_of_aws_and_azure(machine: str, name: str) -> None:
    gpu = gpu_of_labels({"node.kubernetes.io/instance-type": machine, "kubernetes.azure.com/accelerator": "nvidia"})
    assert gpu is not None
    assert gpu.name == name


@pytest.mark.parametrize(
    ("labels", "name", "gibibytes"),
    [
        ({"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM", "amd.com/gpu.vram": "192G"}, GpuType.MI300X, 191),
        ({"amd.com/gpu.device-id": "74b5", "amd.com/gpu.vram": "191G"}, GpuType.MI300X, 191),
        ({"beta.amd.com/gpu.device-id": "74a1"}, GpuType.MI300X, 191),
        ({"amd.com/gpu.product-name": "AMD_Instinct_MI325_OAM"}, GpuType.MI325X, 255),
        ({"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM", "amd.com/gpu.vram": "24G"}, GpuType.MI300X, 24),
    ],
)
def test_knows_the_labels_of_amd(labels: dict[str, str], name: GpuType, gibibytes: int) -> None:
    gpu = gpu_of_labels(labels)
    assert gpu is not None
    assert (gpu.name, gpu.memory_bytes, gpu.kernel) == (name, gibibytes * GIB, Kernel.ROCM)


@pytest.mark.parametrize(
    ("name", "mebibytes", "capability", "known_as", "kernel"),
    [
        ("NVIDIA H100 80GB HBM3", 81559, (9, 0), GpuType.H100, Kernel.TRITON),
        ("NVIDIA A100-SXM4-40GB", 40960, (8, 0), GpuType.A100_40, Kernel.MARLIN),
        ("NVIDIA B200", 183359, (10, 0), GpuType.B200, Kernel.TRTLLM),
        ("NVIDIA H20", 97871, (9, 0), "NVIDIA H20", Kernel.TRITON),
        ("NVIDIA New Thing", 50000, None, "NVIDIA New Thing", Kernel.MARLIN),
        ("AMD Instinct MI300X", 196288, None, GpuType.MI300X, Kernel.ROCM),
        ("AMD Radeon PRO W7900", 49136, None, "AMD Radeon PRO W7900", Kernel.ROCM),
    ],
)
def test_knows_devices_by_what_their_driver_says(
    name: str, mebibytes: int, capability: tuple[int, int] | None, known_as: str, kernel: Kernel
) -> None:
    gpu = gpu_of_device(GpuFacts(name=name, memory_bytes=mebibytes * MIB, capability=capability))
    assert (gpu.name, gpu.memory_bytes, gpu.kernel) == (known_as, mebibytes * MIB, kernel)


def test_a_gpu_of_which_only_the_memory_is_known_has_the_largest_weights() -> None:
    assert gpu_of_memory(80 * GIB, amd=False).kernel is Kernel.MARLIN
    assert gpu_of_memory(80 * GIB, amd=True).kernel is Kernel.ROCM


def test_every_type_is_known() -> None:
    assert set(GPUS) == set(GpuType)
