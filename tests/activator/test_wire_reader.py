"""Requests as HAProxy writes them, in whatever pieces they arrive."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.activator.forward import Request
from gptoss_runtime.activator.hold.wire_reader import RequestReader, UnreadableRequest


MOST = 4_000_000
HEAD = b"POST /v1/completions?a=b HTTP/1.1\r\nHost: chat\r\nx-request-id:  7f \r\n"


def request(body: bytes, *framing: tuple[str, str]) -> Request:
    headers = (("host", "chat"), ("x-request-id", "7f"), *framing)
    return Request(method="POST", path="/v1/completions?a=b", headers=headers, body=body)


def read(data: bytes, cuts: list[int]) -> Request | None:
    reader = RequestReader(MOST)
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[start:end] for start, end in pairwise(edges)]
    results = [reader.feed(piece) for piece in pieces]
    assert all(result is None for result in results[:-1]), "complete before the last byte"
    return results[-1]


CUTS = st.lists(st.integers(0, 10_000), max_size=8)


@given(body=st.binary(min_size=1, max_size=300), cuts=CUTS)
def test_a_body_of_known_length(body: bytes, cuts: list[int]) -> None:
    data = HEAD + f"content-length: {len(body)}\r\n\r\n".encode() + body
    assert read(data, cuts) == request(body, ("content-length", str(len(body))))


@given(chunks=st.lists(st.binary(min_size=1, max_size=100), max_size=6), cuts=CUTS)
def test_a_body_in_chunks(chunks: list[bytes], cuts: list[int]) -> None:
    framed = b"".join(b"%X\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])
    data = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + framed
    assert read(data, cuts) == request(b"".join(chunks), ("transfer-encoding", "chunked"))


def test_no_body() -> None:
    assert read(HEAD + b"\r\n", []) == request(b"")


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"POST / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 5000000\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n-5\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nfffffff\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + b"1" * 300_000,
        b"x" * 300_000,
    ],
)
def test_what_haproxy_would_not_send_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableRequest):
        RequestReader(MOST).feed(data)


def test_a_large_body_may_have_the_margin_that_haproxy_leaves() -> None:
    data = HEAD + f"content-length: {MOST}\r\n\r\n".encode() + b"x" * MOST
    found = read(data, [1000])
    assert found is not None
    assert len(found.body) == MOST
