"""HTTP/2 in clear text: the gateway speaks it, and turns it into HTTP/1.1, where smuggling could begin."""

from tests.gateway.corpus.case import JSON, Case


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW, _CONTINUATION = 0, 1, 4, 6, 8, 9
_END_STREAM, _END_HEADERS = 1, 4
_Fields = tuple[tuple[bytes, bytes], ...]

GOOD: _Fields = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/v1/chat/completions"),
    (b":authority", b"gateway"),
)
SIZE = (b"content-length", str(len(JSON)).encode())


def frame(kind: int, payload: bytes, *, flags: int = 0, stream: int = 1) -> bytes:
    """Return one frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def fields(*pairs: tuple[bytes, bytes]) -> bytes:
    """Return headers in HPACK's plainest form: literals that are not remembered."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in pairs)


def request(*pairs: tuple[bytes, bytes], body: bytes = JSON, tail: bytes = b"") -> bytes:
    """Return a connection with one request, whose headers are `pairs`, and frames `tail` behind it."""
    head = frame(_HEADERS, fields(*pairs), flags=_END_HEADERS)
    return PREFACE + frame(_SETTINGS, b"", stream=0) + head + frame(_DATA, body, flags=_END_STREAM) + tail


def _text(data: bytes) -> bytes:
    if len(data) < 127:
        return bytes((len(data),)) + data
    rest = len(data) - 127
    length = b"\x7f"
    while rest >= 128:
        length += bytes((rest % 128 + 128,))
        rest //= 128
    return length + bytes((rest,)) + data


def _without(name: bytes) -> _Fields:
    return tuple(pair for pair in GOOD if pair[0] != name)


_SMUGGLED = b"\r\n\r\nGET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
HTTP2 = [
    Case(name=f"h2: {name}", data=data, half_close=True)
    for name, data in {
        "length is less than the data": request(*GOOD, (b"content-length", b"10")),
        "length is more than the data": request(*GOOD, (b"content-length", b"100")),
        "length is zero": request(*GOOD, (b"content-length", b"0")),
        "two lengths": request(*GOOD, SIZE, (b"content-length", b"0")),
        "length is negative": request(*GOOD, (b"content-length", b"-1")),
        "length is no number": request(*GOOD, (b"content-length", b"abc")),
        "chunked": request(*GOOD, (b"transfer-encoding", b"chunked")),
        "chunked and a length": request(*GOOD, SIZE, (b"transfer-encoding", b"chunked")),
        "connection": request(*GOOD, SIZE, (b"connection", b"keep-alive")),
        "upgrade": request(*GOOD, SIZE, (b"upgrade", b"websocket")),
        "keep-alive": request(*GOOD, SIZE, (b"keep-alive", b"1")),
        "TE other than trailers": request(*GOOD, SIZE, (b"te", b"gzip")),
        "capital in a name": request(*GOOD, SIZE, (b"X-A", b"b")),
        "colon in a name": request(*GOOD, SIZE, (b"x:a", b"b")),
        "space in a name": request(*GOOD, SIZE, (b"x a", b"b")),
        "line break in a name": request(*GOOD, SIZE, (b"x\r\ny", b"b")),
        "line break in a value": request(*GOOD, SIZE, (b"x-a", b"b\r\nx-gptoss-tenant: root")),
        "LF in a value": request(*GOOD, SIZE, (b"x-a", b"b\nc: d")),
        "NUL in a value": request(*GOOD, SIZE, (b"x-a", b"b\0c")),
        "a request in a value": request(*GOOD, SIZE, (b"x-a", _SMUGGLED)),
        "a request in the path": request(*_without(b":path"), (b":path", b"/v1/models" + _SMUGGLED), SIZE),
        "a request in the method": request(*_without(b":method"), (b":method", b"POST / HTTP/1.1\r\n"), SIZE),
        "space in the path": request(*_without(b":path"), (b":path", b"/v1/chat/completions HTTP/1.1"), SIZE),
        "space in the method": request(*_without(b":method"), (b":method", b"POST x"), SIZE),
        "line break in the authority": request(*_without(b":authority"), (b":authority", b"a\r\nb: c"), SIZE),
        "line break in the scheme": request(*_without(b":scheme"), (b":scheme", b"http\r\nb: c"), SIZE),
        "no path": request(*_without(b":path"), SIZE),
        "empty path": request(*_without(b":path"), (b":path", b""), SIZE),
        "no method": request(*_without(b":method"), SIZE),
        "no scheme": request(*_without(b":scheme"), SIZE),
        "two paths": request(*GOOD, (b":path", b"/v1/models"), SIZE),
        "two methods": request(*GOOD, (b":method", b"GET"), SIZE),
        "unknown pseudo-header": request(*GOOD, (b":x", b"y"), SIZE),
        "pseudo-header behind others": request(SIZE, *GOOD),
        "status in a request": request(*GOOD, (b":status", b"200"), SIZE),
        "CONNECT with a path": request(*_without(b":method"), (b":method", b"CONNECT"), SIZE),
        "websocket by CONNECT": request(
            *_without(b":method"), (b":method", b"CONNECT"), (b":protocol", b"websocket"), SIZE, body=b""
        ),
        "300 headers": request(*GOOD, SIZE, *((b"x-%d" % number, b"y") for number in range(300))),
        "a header of 20 KB in frames": PREFACE
        + frame(_SETTINGS, b"", stream=0)
        + frame(_HEADERS, fields(*GOOD))
        + frame(_CONTINUATION, fields((b"x", b"y" * 10_000))) * 2
        + frame(_CONTINUATION, b"", flags=_END_HEADERS),
        "a flood of empty CONTINUATION": PREFACE
        + frame(_SETTINGS, b"", stream=0)
        + frame(_HEADERS, fields(*GOOD))
        + frame(_CONTINUATION, b"") * 5_000,
        "headers that are cut by data": PREFACE
        + frame(_SETTINGS, b"", stream=0)
        + frame(_HEADERS, fields(*GOOD))
        + frame(_DATA, JSON, flags=_END_STREAM),
        "bad HPACK": PREFACE + frame(_SETTINGS, b"", stream=0) + frame(_HEADERS, b"\xff" * 40, flags=_END_HEADERS),
        "HPACK index 0": PREFACE + frame(_SETTINGS, b"", stream=0) + frame(_HEADERS, b"\x80", flags=_END_HEADERS),
        "even stream": PREFACE
        + frame(_SETTINGS, b"", stream=0)
        + frame(_HEADERS, fields(*GOOD), flags=_END_HEADERS, stream=2),
        "stream 0": PREFACE
        + frame(_SETTINGS, b"", stream=0)
        + frame(_HEADERS, fields(*GOOD), flags=_END_HEADERS, stream=0),
        "data without headers": PREFACE + frame(_SETTINGS, b"", stream=0) + frame(_DATA, JSON, flags=_END_STREAM),
        "no settings": PREFACE + frame(_HEADERS, fields(*GOOD), flags=_END_HEADERS),
        "settings of a bad size": PREFACE + frame(_SETTINGS, b"abc", stream=0),
        "a window of zero": PREFACE + frame(_SETTINGS, b"", stream=0) + frame(_WINDOW, bytes(4), stream=0),
        "a window too large": PREFACE
        + frame(_SETTINGS, b"", stream=0)
        + frame(_WINDOW, b"\x7f\xff\xff\xff", stream=0) * 2,
        "a ping of a bad size": PREFACE + frame(_SETTINGS, b"", stream=0) + frame(_PING, b"1", stream=0),
        "a frame of 16 MB": PREFACE + frame(_SETTINGS, b"", stream=0) + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
        "half of the preface": PREFACE[:10],
        "preface with another end": PREFACE[:-4] + b"XX\r\n",
        "HTTP/1.1 behind the preface": PREFACE + b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n",
        "bad JSON": request(*GOOD, (b"content-length", b"5"), body=b"hello"),
        "an unknown path": request(*_without(b":path"), (b":path", b"/tokenize"), SIZE),
    }.items()
]
