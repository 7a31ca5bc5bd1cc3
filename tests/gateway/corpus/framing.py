"""Where a body ends: what smuggling is made of."""

from tests.gateway.corpus.case import CHUNKED, JSON, LAST, Case, cases, chunk, chunked, post


SIZE = len(JSON)
SECOND = post(JSON, b"x-smuggled: 1")
"""A whole request that hides in another's body."""

LENGTHS = cases(
    "content-length",
    {
        "differ": post(JSON, f"content-length: {SIZE + 1}".encode()),
        "differ, shorter second": post(JSON, b"content-length: 0"),
        "differ in a list": post(length=f"{SIZE}, {SIZE - 1}".encode()),
        "three, one differs": post(JSON, f"content-length: {SIZE}".encode(), b"content-length: 1"),
        "list with an empty member": post(length=f"{SIZE},,{SIZE}".encode()),
        "list that ends with a comma": post(length=f"{SIZE},".encode()),
        "negative": post(length=b"-1"),
        "negative zero": post(length=b"-0"),
        "plus": post(length=b"+" + str(SIZE).encode()),
        "hexadecimal": post(length=hex(SIZE).encode()),
        "hexadecimal digits": post(length=b"4a"),
        "octal prefix": post(length=b"0o112"),
        "empty": post(length=b""),
        "only spaces": post(length=b"   "),
        "space inside": post(length=b"7 4"),
        "tab inside": post(length=b"7\t4"),
        "float": post(length=f"{SIZE}.0".encode()),
        "exponent": post(length=b"1e2"),
        "letters": post(length=b"abc"),
        "trailing letters": post(length=f"{SIZE}abc".encode()),
        "underscore": post(length=b"7_4"),
        "semicolon": post(length=f"{SIZE};a=b".encode()),
        "quoted": post(length=f'"{SIZE}"'.encode()),
        "control byte": post(length=f"{SIZE}\x0b".encode()),
        "NUL": post(length=f"{SIZE}\x00".encode()),
        "arabic digits": post(length="٧٤".encode()),
        "2 to the 63": post(length=str(2**63).encode()),
        "2 to the 64": post(length=str(2**64).encode()),
        "2 to the 64 and its size": post(length=str(2**64 + SIZE).encode()),
        "forty digits": post(length=b"9" * 40),
        "obs-fold": post(length=b"7\r\n 4"),
        "too short, a request remains that is none": post(length=str(SIZE - 5).encode()),
    },
)
LENGTHS += [
    Case(name=f"content-length: {name}", data=post(length=value), half_close=True)
    for name, value in {
        "one more than allowed": b"4000001",
        "2 to the 32": str(2**32).encode(),
        "a petabyte": str(10**15).encode(),
    }.items()
]

CODINGS = cases(
    "transfer-encoding",
    {
        "gzip": post(chunk() + LAST, b"transfer-encoding: gzip", sized=False),
        "identity": post(chunk() + LAST, b"transfer-encoding: identity", sized=False),
        "unknown": post(chunk() + LAST, b"transfer-encoding: xchunked", sized=False),
        "unknown and a length": post(chunk() + LAST, b"transfer-encoding: xchunked"),
        "prefix of chunked": post(chunk() + LAST, b"transfer-encoding: chunke", sized=False),
        "chunked twice in a list": post(chunk() + LAST, b"transfer-encoding: chunked, chunked", sized=False),
        "chunked in two headers": post(chunk() + LAST, CHUNKED, CHUNKED, sized=False),
        "chunked and then another": post(chunk() + LAST, b"transfer-encoding: chunked, identity", sized=False),
        "chunked and then gzip": post(chunk() + LAST, CHUNKED, b"transfer-encoding: gzip", sized=False),
        "gzip and then chunked": post(chunk() + LAST, b"transfer-encoding: gzip, chunked", sized=False),
        "parameter": post(chunk() + LAST, b"transfer-encoding: chunked;q=1", sized=False),
        "quoted": post(chunk() + LAST, b'transfer-encoding: "chunked"', sized=False),
        "empty": post(chunk() + LAST, b"transfer-encoding: ", sized=False),
        "NUL before": post(chunk() + LAST, b"transfer-encoding: \x00chunked", sized=False),
        "vertical tab before": post(chunk() + LAST, b"transfer-encoding: \x0bchunked", sized=False),
        "form feed after": post(chunk() + LAST, b"transfer-encoding: chunked\x0c", sized=False),
        "obs-fold inside": post(chunk() + LAST, b"transfer-encoding: chun\r\n ked", sized=False),
        "bare CR before": post(chunk() + LAST, b"transfer-encoding: \rchunked", sized=False),
        "space before the colon": post(chunk() + LAST, b"transfer-encoding : chunked", sized=False),
        "space before the colon, and a length": post(chunk() + LAST, b"transfer-encoding : chunked"),
        "tab before the colon": post(chunk() + LAST, b"transfer-encoding\t: chunked", sized=False),
        "hidden behind a bare CR": post(JSON, b"x: y\rtransfer-encoding: chunked"),
        "HTTP/1.0": post(chunk() + LAST, CHUNKED, line=b"POST /v1/chat/completions HTTP/1.0", sized=False),
        "HTTP/1.0 and a length": post(chunk() + LAST, CHUNKED, line=b"POST /v1/chat/completions HTTP/1.0"),
        "unknown, with a bad length": post(chunk() + LAST, b"transfer-encoding: x", length=b"-1"),
        "chunked, with a bad length": post(chunk() + LAST, CHUNKED, length=b"-1"),
        "chunked, with differing lengths": post(chunk() + LAST, CHUNKED, b"content-length: 3"),
    },
)

_BAD_SIZES = {
    "no digits": b"",
    "letters": b"xyz",
    "g": b"g",
    "minus": b"-1",
    "plus": b"+4a",
    "0x": b"0x4a",
    "space before": b" 4a",
    "tab before": b"\t4a",
    "NUL": b"4\x00a",
    "underscore": b"4_a",
    "comma": b"4a,4a",
    "17 digits": b"1" + b"0" * 15 + b"4a",
    "16 digits of f": b"f" * 16,
    "8 digits of f": b"f" * 8,
    "2 to the 64 and its size": b"1" + b"0" * 14 + b"4a0",
    "wide digit": "\N{FULLWIDTH DIGIT FOUR}".encode(),
    "bare CR": b"4\ra",
    "extension with NUL": b"4a;a=\x00",
    "extension with a bare CR": b"4a;a=\rb",
    "letters after": b"4az",
}
CHUNKS = [
    Case(name=f"chunk size: {name}", data=chunked(size + b"\r\n" + JSON + b"\r\n" + LAST), half_close=True)
    for name, size in _BAD_SIZES.items()
]
CHUNKS += cases(
    "chunks",
    {
        "data longer than said": chunked(b"5\r\n" + JSON + b"\r\n" + LAST),
        "data shorter than said": chunked(f"{SIZE + 4:x}".encode() + b"\r\n" + JSON + b"\r\n" + LAST),
        "no CRLF after data": chunked(f"{SIZE:x}".encode() + b"\r\n" + JSON + LAST),
        "bare CR after data": chunked(f"{SIZE:x}".encode() + b"\r\n" + JSON + b"\rX" + LAST),
        "bare CR after the size": chunked(f"{SIZE:x}".encode() + b"\rX" + JSON + b"\r\n" + LAST),
        "letters in place of the last chunk": chunked(chunk() + b"end\r\n\r\n"),
        "trailer without a colon": chunked(chunk() + b"0\r\nx-trailer\r\n\r\n"),
        "trailer with a space before the colon": chunked(chunk() + b"0\r\nx : y\r\n\r\n"),
        "trailer with NUL": chunked(chunk() + b"0\r\nx: \x00\r\n\r\n"),
        "trailer with a bare CR": chunked(chunk() + b"0\r\nx: a\rb\r\n\r\n"),
        "trailer that has no name": chunked(chunk() + b"0\r\n: a\r\n\r\n"),
        "too many trailers": chunked(chunk() + b"0\r\n" + b"".join(b"x%d: y\r\n" % n for n in range(200)) + b"\r\n"),
        "a trailer too large": chunked(chunk() + b"0\r\nx: " + b"y" * 40000 + b"\r\n\r\n"),
    },
)
CHUNKS += [
    Case(name=f"chunks: {name}", data=data, half_close=True)
    for name, data in {
        "no last chunk": chunked(chunk()),
        "no end of trailers": chunked(chunk() + b"0\r\n"),
        "nothing": chunked(b""),
        "half a size": chunked(b"4"),
        "half of the data": chunked(chunk()[:20]),
        "half an extension": chunked(b"4a;name=val"),
    }.items()
]
CHUNKS += cases("chunks", {"empty body": chunked(LAST)}, code="invalid_json")

SMUGGLED = cases(
    "smuggled",
    {
        "behind a bad size": chunked(b"x\r\n" + SECOND),
        "behind two lengths": post(SECOND, b"content-length: 0"),
        "behind a length with a plus": post(SECOND, length=b"+0"),
        "behind an unknown coding": post(SECOND, b"transfer-encoding: cow", length=b"0"),
        "behind a coding with a vertical tab": post(SECOND, b"transfer-encoding:\x0bchunked", length=b"0"),
        "behind a space in the header's name": post(SECOND, b"content-length : 0", sized=False),
        "behind a chunk that is too long": chunked(b"2\r\n{}   \r\n0\r\n\r\n" + SECOND),
        "behind a missing CRLF": chunked(b"2\r\n{}0\r\n\r\n" + SECOND),
        "behind a bad version": post(SECOND, line=b"POST /v1/chat/completions HTTP/9.x"),
        "behind NUL in a header": post(SECOND, b"x: \x00"),
    },
)

INCOMPLETE = [
    Case(name=f"incomplete: {name}", data=data, half_close=True)
    for name, data in {
        "no byte of the body": post(b"", length=b"74"),
        "half of the body": post(JSON[:30], length=b"74"),
        "one byte is missing": post(JSON[:-1], length=str(SIZE).encode()),
        "half of a long body": post(JSON[:-1] + b" " * 50_000, length=b"200000"),
        "half of a head": b"POST /v1/chat/completions HTTP/1.1\r\nhost: gate",
        "half of a line": b"POST /v1/chat",
        "one byte": b"P",
        "no empty line": b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-length: 4\r\n",
        "nothing": b"",
        "only CRLF": b"\r\n\r\n\r\n",
    }.items()
]

FRAMING = (*LENGTHS, *CODINGS, *CHUNKS, *SMUGGLED, *INCOMPLETE)
