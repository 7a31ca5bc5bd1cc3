"""What looks hostile and is none: HAProxy makes one clean request of it, or the request has a good meaning.

RFC 9112 allows a gateway to refuse these or to put them right. Where a length and chunks are both given, chunks count
and the connection is closed (section 6.3). HAProxy takes the length off before any rule sees it, so no rule can refuse.
"""

from dataclasses import dataclass

from tests.gateway.corpus.case import CHAT, CHUNKED, JSON, LAST, chunk, chunked, post
from tests.gateway.corpus.http2 import GOOD, SIZE, request


@dataclass(frozen=True, slots=True, kw_only=True)
class Valid:
    """A request that one replica is to see, once and clean."""

    name: str
    data: bytes
    closes: bool = False
    """Whether the gateway must close the connection after its answer."""
    line: str = "POST /v1/chat/completions HTTP/1.1"
    """The request line that the replica sees."""


WEBSOCKET_KEY = b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="


def _to(target: bytes) -> bytes:
    return b"POST " + target + b" HTTP/1.1"


VALID = [
    Valid(name="chunks and a length", data=post(chunk() + LAST, CHUNKED), closes=True),
    Valid(name="a length and chunks", data=chunked(chunk() + LAST, b"content-length: 4"), closes=True),
    Valid(name="chunks and no length", data=chunked(chunk() + LAST, b"content-length: 0"), closes=True),
    Valid(name="CHUNKED", data=post(chunk() + LAST, b"TRANSFER-ENCODING: CHUNKED", sized=False)),
    Valid(name="the same length twice", data=post(JSON, f"content-length: {len(JSON)}".encode())),
    Valid(name="the same length in a list", data=post(length=f"{len(JSON)}, {len(JSON)}".encode())),
    Valid(name="zeros before the length", data=post(length=f"000{len(JSON)}".encode())),
    Valid(name="zeros before the size of a chunk", data=chunked(b"0000" + chunk() + LAST)),
    Valid(name="capital letters in the size of a chunk", data=chunked(chunk().replace(b"4a", b"4A", 1) + LAST)),
    Valid(name="chunk extension", data=chunked(chunk(extension=b';name="value";x') + LAST)),
    Valid(name="many chunks", data=chunked(b"".join(chunk(JSON[at : at + 1]) for at in range(len(JSON))) + LAST)),
    Valid(name="last chunk with an extension", data=chunked(chunk() + b"0;x=y\r\n\r\n")),
    Valid(name="last chunk of many zeros", data=chunked(chunk() + b"0000\r\n\r\n")),
    Valid(name="white space before the object", data=post(b" " + JSON)),
    Valid(name="white space after the object", data=post(JSON + b"\t")),
    Valid(name="trailers", data=chunked(chunk() + b"0\r\nx-checksum: 1\r\n\r\n")),
    Valid(name="folded header", data=post(JSON, b"x-a: b\r\n c")),
    Valid(name="bare LF", data=post().replace(b"\r\n", b"\n")),
    Valid(name="empty lines before", data=b"\r\n" + post()),
    Valid(name="tabs in the request line", data=post(line=b"POST\t" + CHAT + b"\tHTTP/1.1")),
    Valid(name="spaces in the request line", data=post(line=b"POST  " + CHAT + b"  HTTP/1.1")),
    Valid(name="HTTP/1.2", data=post(line=b"POST " + CHAT + b" HTTP/1.2")),
    Valid(name="HTTP/2.0 in words", data=post(line=b"POST " + CHAT + b" HTTP/2.0")),
    Valid(
        name="HTTP/1.0",
        data=post(line=b"POST " + CHAT + b" HTTP/1.0"),
        closes=True,
        line="POST /v1/chat/completions HTTP/1.0",
    ),
    Valid(name="connection: close", data=post(JSON, b"connection: close"), closes=True),
    Valid(name="query", data=post(line=_to(CHAT + b"?a=b")), line="POST /v1/chat/completions?a=b HTTP/1.1"),
    Valid(
        name="absolute with the same host",
        data=post(line=_to(b"http://gateway" + CHAT)),
        line="POST http://gateway/v1/chat/completions HTTP/1.1",
    ),
    Valid(name="no host", data=post().replace(b"host: gateway\r\n", b"")),
    Valid(name="empty header", data=post(JSON, b"x-a:")),
    Valid(name="no space behind the colon", data=post(JSON, b"x-a:b")),
    Valid(name="underscore in a name", data=post(JSON, b"transfer_encoding: chunked")),
    Valid(name="expect something", data=post(JSON, b"expect: something")),
    Valid(name="upgrade to a websocket", data=post(JSON, b"connection: upgrade", b"upgrade: websocket", WEBSOCKET_KEY)),
    Valid(
        name="upgrade to h2c",
        data=post(JSON, b"connection: upgrade, http2-settings", b"upgrade: h2c", b"http2-settings: AAMAAABk"),
    ),
    Valid(name="connection names the tenant", data=post(JSON, b"connection: x-gptoss-tenant, content-length")),
    Valid(name="newline behind the body", data=post(JSON + b"\n")),
    Valid(name="HTTP/2", data=request(*GOOD, SIZE), closes=True),
    Valid(name="HTTP/2 without a length", data=request(*GOOD), closes=True),
    Valid(name="HTTP/2, another host", data=request(*GOOD, (b"host", b"elsewhere"), SIZE), closes=True),
]

SPOOFED = (
    b"x-gptoss-tenant: root",
    b"X-GPTOSS-Tenant: root",
    b"x-gptoss-priority: -1000",
    b"x-gptoss-affinity: 1",
    b"x-gptoss-stream: 1",
    b"x-gptoss-replica: 127.0.0.1",
    b"x-gptoss-queue-ms: 1",
    b"x-gptoss-model: x",
    b"x-gptoss-cache: hit",
    b"x-gptoss-code: x",
    b"x-gptoss-arrived: 1",
    b"x-gptoss-anything: x",
    b"x-request-id: mine",
)
"""Headers that only the gateway may say."""
