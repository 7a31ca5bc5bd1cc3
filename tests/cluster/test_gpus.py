import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.cluster.local import gpu_messages as messages
from e2e.cluster.local.gpu_plugin import Gpus, gpu_names


def test_a_registration_is_encoded_as_the_interface_says() -> None:
    assert messages.register_request("s", "r") == b"\x0a\x07v1beta1\x12\x01s\x1a\x01r"


def test_a_device_list_is_encoded_as_the_interface_says() -> None:
    assert messages.device_list({"g": False}) == b"\x0a\x0e\x0a\x01g\x12\x09Unhealthy"


@given(st.lists(st.lists(st.text())))
def test_the_devices_of_each_container_are_read(containers: list[list[str]]) -> None:
    request = b"".join(
        messages.field(1, b"".join(messages.field(1, device) for device in devices)) for devices in containers
    )

    assert messages.allocated_devices(request) == containers


@given(st.integers(min_value=0, max_value=2**63))
def test_a_number_is_read_as_it_was_written(value: int) -> None:
    assert messages.read_varint(messages.varint(value), 0) == (value, len(messages.varint(value)))


@pytest.mark.parametrize("message", [b"\x0a", b"\x0a\x05abc", b"\x08\x01", b"\xff"])
def test_a_malformed_message_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"message|type"):
        messages.allocated_devices(message)


def test_the_kubelet_is_told_of_a_gpu_that_becomes_unhealthy(tmp_path: Path) -> None:
    file = tmp_path / "unhealthy"
    gpus = Gpus(gpu_names(2), file)
    wanted = threading.Event()
    wanted.set()
    told = gpus.watch(wanted.is_set)

    first = next(told)
    file.write_text("simulated-gpu-1\n")
    gpus.look()
    second = next(told)
    wanted.clear()

    assert first == messages.device_list({"simulated-gpu-0": True, "simulated-gpu-1": True})
    assert second == messages.device_list({"simulated-gpu-0": True, "simulated-gpu-1": False})
    assert list(told) == []
