"""Reads one HTTP/1.1 request from HAProxy's bytes.

Only what HAProxy itself writes is understood: it has checked and normalised what the client sent.
"""

from string import hexdigits

from gptoss_runtime.activator.forward import Request


MAX_HEAD_BYTES = 256 * 1024
"""More than any of HAProxy's buffers here holds."""
_MARGIN_BYTES = 64 * 1024
"""Beyond the largest body: sizes of chunks and what HAProxy may send behind."""


class UnreadableRequest(ValueError):
    """The bytes are no request that HAProxy would send; the message says why."""


class RequestReader:
    """Takes bytes until the request is complete."""

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._bytes = bytearray()
        self._head: tuple[str, str, tuple[tuple[str, str], ...]] | None = None
        self._length: int | None = None
        """Bytes of the body. None: it comes in chunks."""
        self._chunks: list[bytes] = []
        self._chunked_bytes = 0

    def feed(self, data: bytes) -> Request | None:
        """Return the request, or None while some of it is missing. Raises UnreadableRequest."""
        self._bytes += data
        if self._head is None and not self._read_head():
            return None
        body = self._read_chunks() if self._length is None else self._read_body(self._length)
        if body is None or self._head is None:
            return None
        method, path, headers = self._head
        return Request(method=method, path=path, headers=headers, body=body)

    def _read_head(self) -> bool:
        end = self._bytes.find(b"\r\n\r\n")
        if end < 0:
            if len(self._bytes) > MAX_HEAD_BYTES:
                raise UnreadableRequest(f"its head is longer than {MAX_HEAD_BYTES} bytes")
            return False
        # Header values may be any bytes; latin-1 keeps them as they are.
        first, *lines = self._bytes[:end].decode("latin-1").split("\r\n")
        del self._bytes[: end + 4]
        try:
            method, path, _ = first.split(" ")
        except ValueError:
            raise UnreadableRequest(f"no request line: {first[:80]!r}") from None
        headers = tuple(_header(line) for line in lines)
        self._head = (method, path, headers)
        self._length = _body_length(headers, self._max_body_bytes)
        return True

    def _read_body(self, length: int) -> bytes | None:
        return bytes(self._bytes[:length]) if len(self._bytes) >= length else None

    def _read_chunks(self) -> bytes | None:
        while (end := self._bytes.find(b"\r\n")) >= 0:
            size = _chunk_size(self._bytes[:end])
            self._check_size(self._chunked_bytes + size)
            behind = end + 2 + size + 2
            if len(self._bytes) < behind:
                return None
            chunk = bytes(self._bytes[end + 2 : end + 2 + size])
            del self._bytes[:behind]
            if not size:
                return b"".join(self._chunks)
            self._chunks.append(chunk)
            self._chunked_bytes += size
        if len(self._bytes) > MAX_HEAD_BYTES:
            raise UnreadableRequest("a chunk has no size")
        return None

    def _check_size(self, size: int) -> None:
        if size > self._max_body_bytes + _MARGIN_BYTES:
            raise UnreadableRequest(f"its body is longer than {self._max_body_bytes} bytes")


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise UnreadableRequest(f"no header: {line[:80]!r}")
    return name.lower(), value.strip()


def _body_length(headers: tuple[tuple[str, str], ...], most: int) -> int | None:
    named = dict(headers)
    if "chunked" in named.get("transfer-encoding", "").lower():
        return None
    text = named.get("content-length", "0")
    if not text.isdecimal():
        raise UnreadableRequest(f"content-length is {text[:80]!r}")
    length = int(text)
    if length > most + _MARGIN_BYTES:
        raise UnreadableRequest(f"its body is longer than {most} bytes")
    return length


def _chunk_size(line: bytearray) -> int:
    digits = line.partition(b";")[0].strip().decode("latin-1")
    # Python's own reading of numbers would take a sign and underscores too.
    if not digits or not set(digits) <= set(hexdigits):
        raise UnreadableRequest(f"no size of a chunk: {bytes(line[:80])!r}")
    return int(digits, 16)
