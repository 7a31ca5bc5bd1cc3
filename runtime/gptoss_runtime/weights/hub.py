"""The Hugging Face hub and its mirrors.

The library huggingface_hub asks what there is, where it lies and who may have it. It does not bring the bytes: its
downloads begin anew when the process was ended, and a file of gpt-oss has 5 GB.
"""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import HfApi, get_hf_file_metadata, get_session, hf_hub_url

from gptoss_runtime.weights.digest import digest_of_hex
from gptoss_runtime.weights.errors import BadOrderError, FetchError, TransientError
from gptoss_runtime.weights.hub_errors import Asked, explained, of_status
from gptoss_runtime.weights.listing import Contents, Digest, DigestKind, RemoteFile


if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

T = TypeVar("T")

ASK_SECONDS = 30.0
READ_SECONDS = 60.0
"""How long nothing may come until a connection counts as lost."""

_REPOSITORY = re.compile(r"hf://([\w.-]+/[\w.-]+)")
_PARTIAL = 206
_SUCCESS = range(200, 300)


class Hub:
    """One repository of a hub."""

    def __init__(self, source: str, *, revision: str, endpoint: str, token: str) -> None:
        """Ask the hub at `endpoint`, or the one of the environment. Raises BadOrderError."""
        match = _REPOSITORY.fullmatch(source)
        if match is None:
            raise BadOrderError(f"source {source!r} is no repository: write hf://owner/name")
        self._repository = match[1]
        self._revision = revision
        self._token = token
        self._api = HfApi(endpoint=endpoint.rstrip("/") or None, token=token or False)
        self._commit = ""
        self._known: dict[str, RepoSibling] = {}
        self._places: dict[str, str] = {}

    @property
    def host(self) -> str:
        """Return the hub's host."""
        return urlsplit(self._api.endpoint).netloc

    def open(self, commit: str) -> Contents:
        """Return the files of `commit`, or of what the order's revision means now."""
        info = self._asked(
            lambda: self._api.model_info(
                self._repository, revision=commit or self._revision or None, files_metadata=True, timeout=ASK_SECONDS
            )
        )
        if not info.sha:
            raise FetchError(f"{self.host} does not say which commit it has: is it a mirror of the hub?")
        self._commit = info.sha
        self._known = {file.rfilename: file for file in info.siblings or () if "/" not in file.rfilename}
        return Contents(commit=info.sha, names=frozenset(self._known))

    def describe(self, name: str) -> RemoteFile:
        """Return size and digest, from the listing, or where a mirror leaves them out, from the file itself."""
        known = self._known[name]
        if known.lfs is not None:
            return _file(name, known.lfs.size, Digest(kind=DigestKind.SHA256, value=known.lfs.sha256))
        if known.size is not None and known.blob_id and (digest := digest_of_hex(known.blob_id)):
            return _file(name, known.size, digest)
        return self._head(name)

    def chunks(self, file: RemoteFile, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to `end`, as they come."""
        place = self._places.get(file.name) or self._locate(file)
        headers = {"accept-encoding": "identity"}
        if self._token and same_origin(place, self._api.endpoint):
            headers["authorization"] = f"Bearer {self._token}"
        whole = start == 0 and end == file.size
        if not whole:
            headers["range"] = f"bytes={start}-{end - 1}"
        timeout = httpx2.Timeout(READ_SECONDS, connect=ASK_SECONDS)
        try:
            with get_session().stream("GET", place, headers=headers, timeout=timeout) as answer:
                self._check(answer, file, place, whole=whole)
                yield from answer.iter_raw()
        except httpx2.HTTPError as error:
            raise explained(error, self._about(urlsplit(place).netloc)) from error

    def _check(self, answer: httpx2.Response, file: RemoteFile, place: str, *, whole: bool) -> None:
        """Raise where what `place` answered is not what was asked for."""
        status, host = answer.status_code, answer.request.url.host
        if status not in _SUCCESS:
            # All ranges of a file share its address: the first one may have asked for a fresh one already.
            if self._places.get(file.name) == place:
                self._places.pop(file.name, None)
            if host != urlsplit(self._api.endpoint).hostname:
                # The addresses of large files are signed for an hour or so; a fresh one may help.
                raise TransientError(f"{host} answered {status} for {file.name}")
            raise of_status(status, answer.headers.get("retry-after", ""), self._about(host))
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise FetchError(f"{host} sends {file.name} compressed, though it was asked not to")
        if status != _PARTIAL and not whole:
            raise FetchError(f"{host} does not answer ranged requests, which fetching needs: use another mirror")

    def _locate(self, file: RemoteFile) -> str:
        """Return where the bytes lie now, for all ranges of the file."""
        found = self._head(file.name)
        if (found.size, found.tag) != (file.size, file.tag):
            raise FetchError(
                f"{self.host} says two things of {file.name}: {file.size} bytes with digest {file.tag}, "
                f"and {found.size} bytes with digest {found.tag}"
            )
        return self._places[file.name]

    def _head(self, name: str) -> RemoteFile:
        url = hf_hub_url(self._repository, name, revision=self._commit, endpoint=self._api.endpoint)
        facts = self._asked(
            lambda: get_hf_file_metadata(
                url, token=self._token or False, timeout=ASK_SECONDS, endpoint=self._api.endpoint
            )
        )
        if facts.commit_hash not in {None, self._commit}:
            raise FetchError(f"{self.host} answers with commit {facts.commit_hash}, asked for {self._commit}")
        if facts.size is None:
            raise FetchError(f"{self.host} does not say how large {name} is: is it a mirror of the hub?")
        self._places[name] = facts.location
        digest = digest_of_hex(facts.etag or "")
        if digest is None:
            raise FetchError(f"{self.host} gives no digest of {name} (ETag {facts.etag!r}): is it a mirror of the hub?")
        return _file(name, facts.size, digest)

    def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except (httpx2.HTTPError, OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise explained(error, self._about(self.host)) from error

    def _about(self, host: str) -> Asked:
        return Asked(host=host, repository=self._repository, revision=self._revision, with_token=bool(self._token))


def same_origin(one: str, other: str) -> bool:
    """Return whether two addresses have one scheme, host and port, so that a token for one may go to the other."""
    left, right = urlsplit(one), urlsplit(other)
    return (left.scheme, left.netloc) == (right.scheme, right.netloc)


def _file(name: str, size: int, digest: Digest) -> RemoteFile:
    return RemoteFile(name=name, size=size, tag=digest.value, digest=digest)
