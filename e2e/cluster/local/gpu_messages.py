"""The few messages of the kubelet's device plugin interface (v1beta1), in protobuf's encoding.

All of their fields that matter here are strings or messages, so one rule encodes them all: the field's number and the
type 2, the length, the bytes. Source: `pkg/apis/deviceplugin/v1beta1/api.proto` of the module k8s.io/kubelet.
"""

from collections.abc import Iterable, Iterator, Mapping


VERSION = "v1beta1"
LENGTH_DELIMITED = 2
"""Protobuf's type for strings, bytes and messages."""


def register_request(endpoint: str, resource: str) -> bytes:
    """Return `RegisterRequest`: a plugin's socket, by its file name, and what it offers."""
    return field(1, VERSION) + field(2, endpoint) + field(3, resource)


def device_list(devices: Mapping[str, bool]) -> bytes:
    """Return `ListAndWatchResponse`: each device and whether it is healthy."""
    return b"".join(
        field(1, field(1, device) + field(2, "Healthy" if healthy else "Unhealthy"))
        for device, healthy in devices.items()
    )


def allocate_response(environments: Iterable[Mapping[str, str]]) -> bytes:
    """Return `AllocateResponse`: the variables of each container."""
    return b"".join(
        field(1, b"".join(field(1, field(1, key) + field(2, value)) for key, value in variables.items()))
        for variables in environments
    )


def allocated_devices(request: bytes) -> list[list[str]]:
    """Return the devices of each container in an `AllocateRequest`. Raises `ValueError` when it is malformed."""
    return [
        [device.decode() for number, device in fields(container) if number == 1]
        for number, container in fields(request)
        if number == 1
    ]


def field(number: int, value: str | bytes) -> bytes:
    """Return one string, bytes or message field."""
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | LENGTH_DELIMITED) + varint(len(data)) + data


def varint(value: int) -> bytes:
    """Return a number in groups of 7 bits, lowest first."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and bytes of each field. Raises `ValueError` for a field that is no string, bytes or message."""
    position = 0
    while position < len(message):
        key, position = read_varint(message, position)
        if key & 7 != LENGTH_DELIMITED:
            raise ValueError(f"field {key >> 3} has type {key & 7}, where only type {LENGTH_DELIMITED} is expected")
        length, position = read_varint(message, position)
        if position + length > len(message):
            raise ValueError(f"field {key >> 3} is longer than its message")
        yield key >> 3, message[position : position + length]
        position += length


def read_varint(message: bytes, position: int) -> tuple[int, int]:
    """Return the number at `position` and the position after it. Raises `ValueError` when the message ends in it."""
    value = shift = 0
    while position < len(message):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
    raise ValueError("the message ends within a number")
