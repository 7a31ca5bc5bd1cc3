"""Directories of object stores (S3, Google Cloud, Azure) and of plain HTTP servers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, HTTPStore, S3Store

from gptoss_runtime.weights.choice import INDEX, indexed_files
from gptoss_runtime.weights.errors import BadOrderError
from gptoss_runtime.weights.listing import Contents, Digest, DigestKind, RemoteFile
from gptoss_runtime.weights.marker import MARKER, Marker
from gptoss_runtime.weights.store_errors import explained


if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ClientConfig, RetryConfig

AnyStore = S3Store | GCSStore | AzureStore | HTTPStore
HTTP = ("http", "https")
SUMS = "SHA256SUMS"
"""As `sha256sum *` writes it: checked where it lies beside the weights."""
KNOWN_NAMES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "chat_template.json", "vocab.json", "merges.txt", "tokenizer.model",
    "model.safetensors", INDEX, "adapter_config.json", "adapter_model.safetensors",
)  # fmt: skip
"""What is looked for on a server of plain HTTP, which cannot list its directory; the index names more."""
CHUNK_BYTES = 2**20

# One request brings a few megabytes: what bounds it is that something comes, not how long all of it takes.
_CLIENT: "ClientConfig" = {"connect_timeout": "10s", "read_timeout": "60s", "timeout": "1d"}
_RETRY: "RetryConfig" = {"max_retries": 0}  # Ours are counted in one place.
_SUM_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?([^/\n]+)")
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


class Store:
    """One directory of a store."""

    def __init__(self, source: str, *, endpoint: str) -> None:
        """Use the credentials of the environment, or those of the cloud that the pod runs in. Raises BadOrderError."""
        source = source.rstrip("/")
        address = urlsplit(source)
        self._source = source
        self._endpoint = endpoint
        self._lists = address.scheme not in HTTP
        client: ClientConfig = {**_CLIENT, "allow_http": "http" in {address.scheme, urlsplit(endpoint).scheme}}
        if endpoint and address.scheme != "s3":
            raise BadOrderError(f"endpoint {endpoint} is for sources that begin with s3://, not for {source}")
        try:
            self._store = _opened(source, address.scheme, endpoint=endpoint, client=client)
        except (BaseError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise BadOrderError(
                f"{source}: {reason}: check it, and spec.model.source.objectStore.secretName"
            ) from error
        self._metas: dict[str, ObjectMeta] = {}
        self._sums: dict[str, str] = {}

    @property
    def host(self) -> str:
        """Return the store's address, for people."""
        return urlsplit(self._endpoint).netloc or self._source

    def open(self, commit: str) -> Contents:  # noqa: ARG002 - stores name no states
        """Return the files of the directory, without those of directories in it."""
        self._metas = self._listed() if self._lists else self._looked_for()
        self._sums = self._known_sums()
        return Contents(commit="", names=frozenset(self._metas))

    def describe(self, name: str) -> RemoteFile:
        """Return size and digest of a file that `open` named."""
        meta = self._metas[name]
        etag = meta["e_tag"] or ""
        tag = etag or meta["last_modified"].isoformat()
        digest = None
        if sha256 := self._sums.get(name):
            digest = Digest(kind=DigestKind.SHA256, value=sha256)
        elif self._lists and (md5 := _MD5.fullmatch(etag)):
            digest = Digest(kind=DigestKind.MD5, value=md5[1])
        return RemoteFile(name=name, size=meta["size"], tag=tag, digest=digest)

    def chunks(self, file: RemoteFile, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to `end`, as they come."""
        if start == end:
            return
        etag = self._metas[file.name]["e_tag"]
        options: GetOptions = {"range": (start, end)}
        if etag and not etag.startswith("W/"):  # A weak tag never matches.
            options["if_match"] = etag
        with self._explaining(file.name):
            answer = obstore.get(self._store, file.name, options=options)
            for chunk in answer.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    def _listed(self) -> dict[str, "ObjectMeta"]:
        with self._explaining(""):
            listing = obstore.list_with_delimiter(self._store)["objects"]
        return {meta["path"].rsplit("/", 1)[-1]: meta for meta in listing}

    def _looked_for(self) -> dict[str, "ObjectMeta"]:
        found = {name: meta for name in (*KNOWN_NAMES, SUMS, MARKER) if (meta := self._meta(name))}
        if INDEX in found:
            for name in indexed_files(self._text(INDEX, found[INDEX]["size"])):
                if meta := self._meta(name):
                    found[name] = meta
        return found

    def _meta(self, name: str) -> "ObjectMeta | None":
        with self._explaining(name):
            try:
                return obstore.head(self._store, name)
            except FileNotFoundError:
                return None

    def _known_sums(self) -> dict[str, str]:
        """Return the SHA-256 of files, from `SUMS`, or from our own marker where a whole directory was copied."""
        if SUMS in self._metas:
            return parse_sums(self._text(SUMS, self._metas[SUMS]["size"]))
        if MARKER in self._metas and (marker := Marker.decode(self._text(MARKER, self._metas[MARKER]["size"]))):
            return {file.name: file.sha256 for file in marker.files}
        return {}

    def _text(self, name: str, size: int) -> str:
        if size == 0:
            return ""
        with self._explaining(name):
            return bytes(obstore.get_range(self._store, name, start=0, end=size)).decode(errors="replace")

    @contextmanager
    def _explaining(self, name: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            raise explained(error, source=self._source, host=self.host, name=name) from error


def _opened(source: str, scheme: str, *, endpoint: str, client: "ClientConfig") -> AnyStore:
    match scheme:
        case "s3" if endpoint:
            return S3Store.from_url(source, endpoint=endpoint, client_options=client, retry_config=_RETRY)
        case "s3":
            return S3Store.from_url(source, client_options=client, retry_config=_RETRY)
        case "gs":
            return GCSStore.from_url(source, client_options=client, retry_config=_RETRY)
        case "az":
            return AzureStore.from_url(source, client_options=client, retry_config=_RETRY)
        case _:
            return HTTPStore.from_url(source, client_options=client, retry_config=_RETRY)


def parse_sums(text: str) -> dict[str, str]:
    """Return the SHA-256 of each file that the text of `SUMS` names. Other lines are passed over."""
    found = (_SUM_LINE.fullmatch(line.strip()) for line in text.splitlines())
    return {match[2]: match[1].lower() for match in found if match}
