"""Bodies: what is no text, no JSON, or not what this gateway serves. Each short and, where it may differ, long too."""

import json

from e2e.gateway.local import MODEL
from tests.gateway.corpus.case import JSON, LAST, Case, cases, chunk, chunked, document, post


_LONG = b"x" * 30_000
"""Makes a body take the second HAProxy."""
_NAME = MODEL.encode()


def _said(text: bytes) -> bytes:
    return b'{"model":"' + _NAME + b'","messages":[{"role":"user","content":"' + text + b'"}]}'


_NO_TEXT = {
    "NUL": b"a\x00b",
    "SOH": b"a\x01b",
    "backspace": b"a\x08b",
    "vertical tab": b"a\x0bb",
    "escape": b"a\x1b[31m",
    "unit separator": b"a\x1fb",
    "continuation alone": b"a\x80b",
    "two continuations": b"a\xbf\xbfb",
    "lead of 2 alone": b"a\xc3",
    "lead of 2 and a letter": b"a\xc3b",
    "lead of 3, one short": b"a\xe2\x82",
    "lead of 3 and letters": b"a\xe2bc",
    "lead of 4, one short": b"a\xf0\x9f\x98",
    "lead of 4, two short": b"a\xf0\x9fz",
    "one continuation too many": b"\xc3\xa9\xa9",
    "one continuation too many, of 3": b"\xe2\x82\xac\x80",
    "one continuation too many, of 4": b"\xf0\x9f\x98\x80\x80",
    "overlong slash of 2": b"\xc0\xaf",
    "overlong NUL of 2": b"\xc0\x80",
    "overlong C1": b"\xc1\xbf",
    "overlong slash of 3": b"\xe0\x80\xaf",
    "overlong of 3, the last": b"\xe0\x9f\xbf",
    "overlong slash of 4": b"\xf0\x80\x80\xaf",
    "overlong of 4, the last": b"\xf0\x8f\xbf\xbf",
    "high surrogate": b"\xed\xa0\x80",
    "low surrogate": b"\xed\xbf\xbf",
    "surrogate pair (CESU-8)": b"\xed\xa0\xbd\xed\xb8\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "F5": b"\xf5\x80\x80\x80",
    "5 bytes": b"\xf8\x88\x80\x80\x80",
    "6 bytes": b"\xfc\x84\x80\x80\x80\x80",
    "FE": b"\xfe",
    "FF": b"\xff",
    "Latin-1": "naïve".encode("latin-1"),
    "Shift-JIS": "日本".encode("shift_jis"),
    "EUC-KR": "한국".encode("euc-kr"),
}
TEXT = cases("text", {name: post(_said(text)) for name, text in _NO_TEXT.items()}, code="invalid_json")
TEXT += cases("long text", {name: post(_said(_LONG + text)) for name, text in _NO_TEXT.items()}, code="invalid_json")
TEXT += cases(
    "text",
    {
        "UTF-16": post(JSON.decode().encode("utf-16")),
        "UTF-16 without a mark": post(JSON.decode().encode("utf-16-le")),
        "UTF-32": post(JSON.decode().encode("utf-32-be")),
        "a byte order mark": post(b"\xef\xbb\xbf" + JSON),
        "gzip": post(bytes.fromhex("1f8b0800000000000203") + bytes(60), b"content-encoding: gzip"),
        "NUL at the end": post(JSON + b"\x00"),
        "NUL and more behind the end": post(JSON + b"\x00" + JSON),
        "NULs alone": post(bytes(500)),
        "in chunks, cut within a letter": chunked(chunk(_said(b"\xe2")[:-3]) + chunk(b'"}]}') + LAST),
    },
    code="invalid_json",
)

_NO_OBJECT = {
    "empty": b"",
    "spaces": b"    ",
    "array": b"[" + JSON + b"]",
    "string": b'"' + _NAME + b'"',
    "number": b"17",
    "null": b"null",
    "true": b"true",
    "word": b"hello",
    "form": b"model=" + _NAME + b"&prompt=hi",
    "XML": b"<model>" + _NAME + b"</model>",
    "open brace": b"{",
    "close brace": b"}",
    "half": JSON[:-20],
    "last brace is missing": JSON[:-1],
    "text behind": JSON + b" and more",
    "comma behind": JSON + b",",
    "half of a string": b'{"model":"' + _NAME,
    "deep arrays": b"[" * 5_000 + b"]" * 5_000,
    "deep arrays that never end": b"[" * 10_000,
    "lines of JSON, half": JSON + b"\n" + JSON[:-3],
}
_NO_MODEL = {
    "empty object": b"{}",
    "braces alone": b"{{{{}}}}",
    "no model": json.dumps({"messages": []}).encode(),
    "model inside": json.dumps({"a": {"model": MODEL}}).encode(),
    "model in other letters": json.dumps({"Model": MODEL}).encode(),
    "model with a space": json.dumps({" model": MODEL}).encode(),
    "model with an escape in its name": b'{"mod\\u0065l":"' + _NAME + b'"}',
    "model is null": json.dumps({"model": None}).encode(),
    "model is an object": json.dumps({"model": {"name": MODEL}}).encode(),
    "no quotes": b"{model:" + _NAME + b"}",
    "single quotes": b"{'model':'" + _NAME + b"'}",
    "no colon": b'{"model" "' + _NAME + b'"}',
    "a comma too early": b'{,"model":"' + _NAME + b'"}',
    "garbage before": b'{"a":,"model":"' + _NAME + b'"}',
    "NaN before": b'{"a":NaN,"model":"' + _NAME + b'"}',
    "a comment before": b'{/* a */"model":"' + _NAME + b'"}',
    "deep objects before": b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
    "deep arrays before": b'{"a":' + b"[" * 3_000 + b"]" * 3_000 + b',"model":"' + _NAME + b'"}',
    "huge keys": b'{"' + b"k" * 9_000 + b'":1}',
}
_OTHER_MODEL = {
    "another": document(model="gpt-4o"),
    "empty": document(model=""),
    "prefix": document(model=MODEL[:-1]),
    "suffix": document(model=MODEL + "x"),
    "space behind": document(model=MODEL + " "),
    "capitals": document(model=MODEL.upper()),
    "path": document(model="../../etc/passwd"),
    "a list of names": document(model=f"{MODEL} {MODEL}"),
    "quote": document(model='"' + MODEL),
    "HAProxy's format": document(model="%[env(HOME)]"),
    "line break": document(model=MODEL + "\nx-a: b"),
    "9 KB": document(model="m" * 9_000),
    "number": document(model=20),
    "array": document(model=[MODEL]),
    "true": document(model=True),
    "first of two": b'{"model":"x","model":"' + _NAME + b'"}',
}
DOCUMENTS = [
    *cases("no object", {name: post(body) for name, body in _NO_OBJECT.items()}, code="invalid_json"),
    *cases("no model", {name: post(body) for name, body in _NO_MODEL.items()}, code="missing_model"),
    *cases("other model", {name: post(body) for name, body in _OTHER_MODEL.items()}),
]


def _longer(body: bytes) -> bytes:
    """Return an object with a long field in front."""
    return b'{"padding":"' + _LONG + b'",' + body[1:]


LONG_DOCUMENTS = cases(
    "long",
    {
        "array": post(b"[" * 15_000 + b"]" * 15_000),
        "string": post(b'"' + _LONG + b'"'),
        "last brace is missing": post(_longer(JSON)[:-1]),
        "spaces": post(b" " * 30_000),
        "zeros": post(bytes(30_000)),
        "a megabyte of braces": post(b"{" * 1_000_000),
        "in chunks, half": chunked(chunk(_longer(JSON)[:-3]) + LAST),
    },
    code="invalid_json",
)
LONG_DOCUMENTS += cases(
    "long",
    {
        "no model": post(_longer(b'{"messages":[]}')),
        "a megabyte of keys": post(b"{" + b'"k":1,' * 160_000 + b'"k":1}'),
        "deep arrays before": post(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b',"model":"' + _NAME + b'"}'),
        "in chunks, no model": chunked(chunk(_longer(b'{"messages":[]}')) + LAST),
    },
    code="missing_model",
)
LONG_DOCUMENTS += cases(
    "long",
    {"another model": post(_longer(document(model="gpt-4o")))},
    code="model_not_found",
)
LONG_DOCUMENTS += cases("long", {"more than allowed": post(_longer(JSON), length=b"4000001")}, code="request_too_large")
# Whether it would end is not known, so it is closed and not answered.
LONG_DOCUMENTS += cases(
    "long",
    {
        "more than allowed, in chunks": chunked(chunk(b'{"p":"' + b"x" * 4_100_000 + b'"}') + LAST),
        "more than allowed, in small chunks": chunked(chunk(b"{" + b" " * 65_535) * 63 + LAST),
    },
)

BODIES: tuple[Case, ...] = (*TEXT, *DOCUMENTS, *LONG_DOCUMENTS)
