"""Which cloud this machine is in, as its firmware says. `detect_cloud` is pure."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from gptoss_runtime.orders import Cloud


FIRMWARE_DIRECTORY = Path("/sys/class/dmi/id")
FIRMWARE_FILES = ("sys_vendor", "product_name", "bios_vendor", "chassis_asset_tag")
"""All that is needed; pods can read it."""

AZURE_CHASSIS = "7783-7084-3265-9085-8269-3286-77"
"""On every machine of Azure, and on no other of Microsoft's: Hyper-V elsewhere has a tag of its own."""


def read_firmware(directory: Path = FIRMWARE_DIRECTORY) -> dict[str, str]:
    """Return what the firmware says, by file; what cannot be read is absent."""
    texts = {}
    for name in FIRMWARE_FILES:
        with suppress(OSError):
            texts[name] = (directory / name).read_text(errors="replace").strip()
    return texts


def detect_cloud(firmware: Mapping[str, str]) -> Cloud:
    """Return the cloud that `firmware` names; OFF where it names none that is known."""
    if "Amazon EC2" in (firmware.get("sys_vendor"), firmware.get("bios_vendor")):
        return Cloud.AWS
    # Google is also the vendor of laptops.
    if firmware.get("product_name") == "Google Compute Engine":
        return Cloud.GCP
    if firmware.get("chassis_asset_tag") == AZURE_CHASSIS:
        return Cloud.AZURE
    return Cloud.OFF
