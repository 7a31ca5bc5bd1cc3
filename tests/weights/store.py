"""Simulated object stores: one that speaks S3 as object_store asks it, and a plain web server."""

import hashlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from html import escape
from urllib.parse import parse_qs, unquote, urlsplit

from tests.weights.serving import Behaviour, Handler, serving


BUCKET = "models"
KEY_ID = "AKIATEST"
DATE = "Mon, 23 Nov 2026 06:00:00 GMT"


@cache
def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@dataclass
class Store:
    """One bucket, or the directory of a web server."""

    files: dict[str, bytes]
    """By key."""
    strange_etags: bool = False
    """Of the form of an MD5 but something else, as with SSE-KMS."""
    behaviour: Behaviour = field(default_factory=Behaviour)
    address: str = ""

    def etag(self, content: bytes) -> str:
        md5 = md5_of(content)
        return f'"{md5[::-1] if self.strange_etags else md5}"'

    def serve_s3(self, handler: Handler) -> None:
        address = urlsplit(handler.path)
        path = unquote(address.path)
        if f"Credential={KEY_ID}/" not in handler.headers.get("Authorization", ""):
            handler.answer(403, b"<Error><Code>InvalidAccessKeyId</Code></Error>")
        elif path.rstrip("/") == f"/{BUCKET}":
            handler.answer(200, self._listing(parse_qs(address.query)["prefix"][0]).encode())
        else:
            self._object(handler, path.removeprefix(f"/{BUCKET}/"))

    def serve_web(self, handler: Handler) -> None:
        self._object(handler, unquote(urlsplit(handler.path).path).removeprefix("/"))

    def _listing(self, prefix: str) -> str:
        """Return one page as ListObjectsV2 with delimiter / answers it."""
        rests = {key.removeprefix(prefix): content for key, content in self.files.items() if key.startswith(prefix)}
        objects = "".join(
            f"<Contents><Key>{prefix}{rest}</Key><LastModified>2026-11-23T06:00:00.000Z</LastModified>"
            f"<ETag>{escape(self.etag(content))}</ETag><Size>{len(content)}</Size></Contents>"
            for rest, content in rests.items()
            if "/" not in rest
        )
        folders = {rest.partition("/")[0] for rest in rests if "/" in rest}
        common = "".join(f"<CommonPrefixes><Prefix>{prefix}{name}/</Prefix></CommonPrefixes>" for name in folders)
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{objects}{common}</ListBucketResult>"

    def _object(self, handler: Handler, key: str) -> None:
        content = self.files.get(key)
        if content is None:
            handler.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        etag = self.etag(content)
        if handler.headers.get("If-Match", etag) != etag:
            handler.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        handler.answer_file(content, {"ETag": etag, "Last-Modified": DATE})


@contextmanager
def a_bucket(files: dict[str, bytes]) -> Iterator[Store]:
    """Run an S3-compatible store."""
    store = Store(files=dict(files))
    with serving("127.0.0.43", store.serve_s3, store.behaviour) as server:
        store.address = server.address
        yield store


@contextmanager
def a_web_server(files: dict[str, bytes], tls: ssl.SSLContext | None = None) -> Iterator[Store]:
    """Run a plain web server."""
    store = Store(files=dict(files))
    with serving("127.0.0.44", store.serve_web, store.behaviour, tls) as server:
        store.address = server.address
        yield store
